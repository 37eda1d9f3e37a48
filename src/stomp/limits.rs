//! The maximum size of a frame.

/// The maximum size of the peer's frames. What exceeds it is not kept in memory: if a MESSAGE can
/// be acknowledged, the rest is skipped and a [`Defect`](super::Defect) added; any other frame ends
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the command and headers together. Default 1 MiB.
    pub head: usize,
    /// Number of headers. Default 1000.
    pub headers: usize,
    /// Bytes of the body. Default 128 MiB, RabbitMQ's own limit until 3.13.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 1 << 20,
            headers: 1000,
            body: 128 << 20,
        }
    }
}
