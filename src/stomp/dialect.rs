//! How a connection's frames are written and read.

use super::broker::Broker;
use super::version::Version;

/// How frames are written and read: the rules of a version, or what a broker makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub(super) version: Version,
    pub(super) written: Escapes,
    pub(super) read: Escapes,
    /// Whether the last `content-length` of a MESSAGE counts, not the first.
    pub(super) has_last_length: bool,
}

/// The escape sequences of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// None: a value ends with its line (STOMP 1.0).
    None,
    /// `\n`, `\c` and `\\` (STOMP 1.1, "Value Encoding"). A carriage return stands for itself.
    WithoutReturn,
    /// Those, and `\r` (STOMP 1.2, "Value Encoding").
    All,
}

impl Dialect {
    /// The version as its specification has it.
    #[must_use]
    pub fn of(version: Version) -> Self {
        let escapes = match version {
            Version::V1_0 => Escapes::None,
            Version::V1_1 => Escapes::WithoutReturn,
            Version::V1_2 => Escapes::All,
        };
        Self {
            version,
            written: escapes,
            read: escapes,
            has_last_length: false,
        }
    }

    /// The version as this broker has it. RabbitMQ 3.10 writes and reads all escape sequences in
    /// each version, and so does our loopback broker. ActiveMQ 5.17 reads those of 1.1 in 1.0,
    /// where it writes none; in each version it takes a carriage return as it is.
    #[must_use]
    pub fn of_broker(version: Version, broker: Broker) -> Self {
        let plain = Self::of(version);
        match (broker, version) {
            (Broker::RabbitMq | Broker::Loopback, _) => Self {
                written: Escapes::All,
                read: Escapes::All,
                has_last_length: true,
                ..plain
            },
            (Broker::ActiveMq, Version::V1_0) => Self {
                written: Escapes::WithoutReturn,
                ..plain
            },
            _ => plain,
        }
    }

    /// The version.
    #[must_use]
    pub fn version(self) -> Version {
        self.version
    }

    /// The header of ACK and NACK that says of which message they are.
    pub(super) fn ack_header(self) -> &'static str {
        match self.version {
            Version::V1_0 | Version::V1_1 => "message-id",
            Version::V1_2 => "id",
        }
    }

    /// Whether a line may end with CR LF (STOMP 1.2, "Augmented BNF"); before, the CR belongs to
    /// the line.
    pub(super) fn has_crlf(self) -> bool {
        self.version == Version::V1_2
    }
}

impl Escapes {
    /// What stands for this byte, where it cannot stand for itself.
    pub(super) fn of(self, byte: u8) -> Option<&'static [u8]> {
        match (byte, self) {
            (_, Self::None) | (b'\r', Self::WithoutReturn) => None,
            (b'\r', _) => Some(b"\\r"),
            (b'\n', _) => Some(b"\\n"),
            (b':', _) => Some(b"\\c"),
            (b'\\', _) => Some(b"\\\\"),
            _ => None,
        }
    }

    /// What this letter stands for behind a backslash.
    pub(super) fn meaning(self, letter: u8) -> Option<char> {
        match (letter, self) {
            (b'r', Self::All) => Some('\r'),
            (b'n', _) => Some('\n'),
            (b'c', _) => Some(':'),
            (b'\\', _) => Some('\\'),
            _ => None,
        }
    }
}
