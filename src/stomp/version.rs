//! The STOMP versions.

use std::fmt;

/// A STOMP version. Versions differ in how headers are escaped, in what an ACK names, and in
/// whether there are heart-beats and NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// STOMP 1.0: no escape sequences, ACK by `message-id`, neither NACK nor heart-beats. RabbitMQ
    /// has both all the same.
    V1_0,
    /// STOMP 1.1: ACK by `message-id` and `subscription`.
    V1_1,
    /// STOMP 1.2: ACK by the message's `ack` header.
    V1_2,
}

impl Version {
    /// Parses a version as in headers, such as `1.2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "1.0" => Some(Self::V1_0),
            "1.1" => Some(Self::V1_1),
            "1.2" => Some(Self::V1_2),
            _ => None,
        }
    }

    /// The version as in headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
