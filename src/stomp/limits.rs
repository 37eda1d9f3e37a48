//! How much a frame may be.

/// The most that a frame of the peer may be. What is larger is not held: of a MESSAGE that can be
/// answered the rest is skipped ([`Defect`](super::Defect)), any other frame ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the command and the headers together. Default 1 MiB.
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
