//! How the frames of a connection are encoded and decoded.

use super::version::Version;
use crate::broker::Broker;

/// The encoding rules of a STOMP version, with the deviations of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub(super) version: Version,
    pub(super) written: Escapes,
    pub(super) read: Escapes,
    /// Whether the last `content-length` of a MESSAGE counts rather than the first.
    pub(super) has_last_length: bool,
}

/// The escape sequences of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// None: a value ends with its line (STOMP 1.0).
    None,
    /// `\n`, `\c` and `\\` (STOMP 1.1, "Value Encoding"). A carriage return is not escaped.
    WithoutReturn,
    /// The same and `\r` (STOMP 1.2, "Value Encoding").
    All,
}

impl Dialect {
    /// The dialect that the version's specification defines.
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

    /// The dialect of this broker for the version: that of the specification, with the broker's
    /// deviations.
    #[must_use]
    pub fn of_broker(version: Version, broker: Broker) -> Self {
        let protocol = broker.protocol();
        let mut dialect = Self::of(version);
        dialect.has_last_length = protocol.has_last_length;
        if protocol.has_all_escapes {
            dialect.written = Escapes::All;
            dialect.read = Escapes::All;
        } else if protocol.reads_escapes_in_1_0 && version == Version::V1_0 {
            dialect.written = Escapes::WithoutReturn;
        }
        dialect
    }

    /// The version.
    #[must_use]
    pub fn version(self) -> Version {
        self.version
    }

    /// The header of ACK and NACK that identifies the message.
    pub(super) fn ack_header(self) -> &'static str {
        match self.version {
            Version::V1_0 | Version::V1_1 => "message-id",
            Version::V1_2 => "id",
        }
    }

    /// Whether a line may end with CR LF (STOMP 1.2, "Augmented BNF"). In earlier versions the CR
    /// belongs to the line.
    pub(super) fn has_crlf(self) -> bool {
        self.version == Version::V1_2
    }
}

impl Escapes {
    /// The escape sequence for this byte; `None` if it needs none.
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

    /// What this character means after a backslash; `None` if undefined.
    pub(super) fn meaning(self, escaped: u8) -> Option<char> {
        match (escaped, self) {
            (b'r', Self::All) => Some('\r'),
            (b'n', _) => Some('\n'),
            (b'c', _) => Some(':'),
            (b'\\', _) => Some('\\'),
            _ => None,
        }
    }
}
