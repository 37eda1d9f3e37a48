//! Frames to bytes: tokio-stomp-2's vocabulary of what a client says, completed by what its own
//! encoder leaves out, and the frames of either side as they stand.

use bytes::{BufMut, BytesMut};
use memchr::memchr;
use tokio_stomp_2::{AckMode, Message, ToServer};

use super::dialect::{Dialect, Escapes};
use super::frame::Frame;

/// Why a frame cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A header holds NUL, for which STOMP has no escape sequence.
    #[error("header {name:?} holds a NUL character, which STOMP cannot carry")]
    Nul {
        /// The header.
        name: String,
    },
    /// A header has no name; RabbitMQ closes the connection for it.
    #[error("a header has an empty name")]
    EmptyHeaderName,
    /// A header with what neither STOMP 1.0 nor CONNECT and CONNECTED have an escape sequence for.
    #[error(
        "header {name:?} holds a line break, or a colon in its name, which STOMP 1.0 and CONNECT \
         cannot carry"
    )]
    NoEscape {
        /// The header.
        name: String,
    },
    /// A command that is empty, or holds a line break or NUL.
    #[error("the command {command:?} is empty, or holds a line break or a NUL character")]
    Command {
        /// The command.
        command: String,
    },
}

/// Appends a client's frame: `message` with its `extra_headers`, then `body` with its length. On an
/// error nothing is appended.
///
/// A `body` or further `headers` inside of `message` are written too; where there are two bodies,
/// the argument counts.
///
/// # Errors
///
/// [`EncodeError`], which names the header.
pub fn encode(
    message: &Message<ToServer>,
    body: Option<&[u8]>,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let length = dst.len();
    let result = put_message(message, body, dialect, dst);
    if result.is_err() {
        dst.truncate(length);
    }
    result
}

/// Appends a frame of either side as it stands, with a `content-length` where there is a body and
/// no such header. On an error nothing is appended.
///
/// # Errors
///
/// [`EncodeError`], which names the header, or the command.
pub fn encode_frame(
    frame: &Frame,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    if frame.command.is_empty() || frame.command.contains(['\r', '\n', '\0']) {
        return Err(EncodeError::Command {
            command: frame.command.clone(),
        });
    }
    let length = dst.len();
    let mut writer = Writer::begin(&frame.command, dialect, dst);
    let result = frame
        .headers
        .iter()
        .try_for_each(|(name, value)| writer.text(name, value));
    let is_counted = frame.body.is_empty() || frame.header("content-length").is_some();
    writer.end(&frame.body, !is_counted);
    if result.is_err() {
        dst.truncate(length);
    }
    result
}

fn put_message(
    message: &Message<ToServer>,
    body: Option<&[u8]>,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut inner = None;
    let mut writer;
    // Headers in the order of tokio-stomp-2.
    match &message.content {
        ToServer::Connect {
            accept_version,
            host,
            login,
            passcode,
            heartbeat,
        } => {
            writer = Writer::begin("CONNECT", dialect, dst);
            writer.text("accept-version", accept_version)?;
            writer.text("host", host)?;
            writer.maybe("login", login.as_deref())?;
            writer.maybe("passcode", passcode.as_deref())?;
            if let Some((send, receive)) = heartbeat {
                writer.text("heart-beat", &format!("{send},{receive}"))?;
            }
        }
        ToServer::Send {
            destination,
            transaction,
            headers,
            body,
        } => {
            writer = Writer::begin("SEND", dialect, dst);
            writer.text("destination", destination)?;
            writer.maybe("transaction", transaction.as_deref())?;
            for (name, value) in headers.iter().flatten() {
                writer.text(name, value)?;
            }
            inner = body.as_deref();
        }
        ToServer::Subscribe {
            destination,
            id,
            ack,
        } => {
            writer = Writer::begin("SUBSCRIBE", dialect, dst);
            writer.text("destination", destination)?;
            writer.text("id", id)?;
            let ack = ack.map(|mode| match mode {
                AckMode::Auto => "auto",
                AckMode::Client => "client",
                AckMode::ClientIndividual => "client-individual",
            });
            writer.maybe("ack", ack)?;
        }
        ToServer::Unsubscribe { id } => {
            writer = Writer::begin("UNSUBSCRIBE", dialect, dst);
            writer.text("id", id)?;
        }
        ToServer::Ack { id, transaction } | ToServer::Nack { id, transaction } => {
            let command = match &message.content {
                ToServer::Ack { .. } => "ACK",
                _ => "NACK",
            };
            writer = Writer::begin(command, dialect, dst);
            writer.text(dialect.ack_header(), id)?;
            writer.maybe("transaction", transaction.as_deref())?;
        }
        ToServer::Begin { transaction } => {
            writer = Writer::begin("BEGIN", dialect, dst);
            writer.text("transaction", transaction)?;
        }
        ToServer::Commit { transaction } => {
            writer = Writer::begin("COMMIT", dialect, dst);
            writer.text("transaction", transaction)?;
        }
        ToServer::Abort { transaction } => {
            writer = Writer::begin("ABORT", dialect, dst);
            writer.text("transaction", transaction)?;
        }
        ToServer::Disconnect { receipt } => {
            writer = Writer::begin("DISCONNECT", dialect, dst);
            writer.maybe("receipt", receipt.as_deref())?;
        }
    }
    for (name, value) in &message.extra_headers {
        writer.header(name, value)?;
    }
    let body = body.or(inner);
    writer.end(body.unwrap_or_default(), body.is_some());
    Ok(())
}

/// A frame that is being written.
struct Writer<'a> {
    dst: &'a mut BytesMut,
    escapes: Escapes,
    /// CONNECT or CONNECTED.
    is_plain: bool,
}

impl<'a> Writer<'a> {
    fn begin(command: &str, dialect: Dialect, dst: &'a mut BytesMut) -> Self {
        // As in STOMP 1.0, so that whoever reads it need not know the version yet.
        let is_plain = matches!(command, "CONNECT" | "CONNECTED");
        dst.reserve(256);
        dst.put_slice(command.as_bytes());
        dst.put_u8(b'\n');
        Self {
            dst,
            escapes: if is_plain {
                Escapes::None
            } else {
                dialect.written
            },
            is_plain,
        }
    }

    fn text(&mut self, name: &str, value: &str) -> Result<(), EncodeError> {
        self.header(name.as_bytes(), value.as_bytes())
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| self.text(name, value))
    }

    fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        check(name, value, self.escapes)?;
        // At its end a reader of STOMP 1.2 would take it for a part of the line break.
        if self.is_plain && (name.contains(&b'\r') || value.contains(&b'\r')) {
            return Err(no_escape(name));
        }
        self.dst.reserve(name.len() + value.len() + 2);
        self.put(name);
        self.dst.put_u8(b':');
        self.put(value);
        self.dst.put_u8(b'\n');
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while let Some((at, escape)) = first_escape(bytes, self.escapes) {
            self.dst.put_slice(&bytes[..at]);
            self.dst.put_slice(escape);
            bytes = &bytes[at + 1..];
        }
        self.dst.put_slice(bytes);
    }

    fn end(self, body: &[u8], is_counted: bool) {
        if is_counted {
            self.dst.put_slice(b"content-length:");
            self.dst.put_slice(body.len().to_string().as_bytes());
            self.dst.put_u8(b'\n');
        }
        self.dst.reserve(body.len() + 2);
        self.dst.put_u8(b'\n');
        self.dst.put_slice(body);
        self.dst.put_u8(0);
    }
}

fn first_escape(bytes: &[u8], escapes: Escapes) -> Option<(usize, &'static [u8])> {
    let mut places = bytes.iter().enumerate();
    places.find_map(|(at, byte)| Some((at, escapes.of(*byte)?)))
}

/// Whether a header can be carried.
pub(super) fn check(name: &[u8], value: &[u8], escapes: Escapes) -> Result<(), EncodeError> {
    if name.is_empty() {
        return Err(EncodeError::EmptyHeaderName);
    }
    let is_anywhere = |byte| memchr(byte, name).is_some() || memchr(byte, value).is_some();
    if is_anywhere(0) {
        return Err(EncodeError::Nul { name: shown(name) });
    }
    if escapes == Escapes::None && (is_anywhere(b'\n') || name.contains(&b':')) {
        return Err(no_escape(name));
    }
    Ok(())
}

fn no_escape(name: &[u8]) -> EncodeError {
    EncodeError::NoEscape { name: shown(name) }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::decoder::Decoder;
    use crate::stomp::limits::Limits;
    use crate::stomp::version::Version;

    fn send(extra: (&[u8], &[u8])) -> Message<ToServer> {
        Message {
            content: ToServer::Send {
                destination: "/queue/a:b".to_owned(),
                transaction: None,
                headers: None,
                body: None,
            },
            extra_headers: vec![(extra.0.to_vec(), extra.1.to_vec())],
        }
    }

    fn encoded(extra: (&[u8], &[u8]), version: Version) -> Result<String, EncodeError> {
        let mut bytes = BytesMut::from(&b"before"[..]);
        let result = encode(
            &send(extra),
            Some(b"{\0}"),
            Dialect::of(version),
            &mut bytes,
        );
        let bytes = bytes.strip_prefix(b"before").unwrap();
        if result.is_err() {
            assert!(bytes.is_empty());
        }
        result.map(|()| bytes.escape_ascii().to_string())
    }

    #[test]
    fn each_version_escapes_in_its_own_way() {
        let extra = (&b"x:y"[..], &b"a\\b\r\nc"[..]);
        assert_eq!(
            encoded(extra, Version::V1_2).unwrap(),
            r"SEND\ndestination:/queue/a\\cb\nx\\cy:a\\\\b\\r\\nc\ncontent-length:3\n\n{\x00}\x00"
        );
        assert_eq!(
            encoded(extra, Version::V1_1).unwrap(),
            r"SEND\ndestination:/queue/a\\cb\nx\\cy:a\\\\b\r\\nc\ncontent-length:3\n\n{\x00}\x00"
        );
        assert_eq!(
            encoded((b"x", b"a\\b:c"), Version::V1_0).unwrap(),
            r"SEND\ndestination:/queue/a:b\nx:a\\b:c\ncontent-length:3\n\n{\x00}\x00"
        );
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let name = || "x".to_owned();
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let nul = EncodeError::Nul { name: name() };
            assert_eq!(encoded((b"x", b"\0"), version), Err(nul));
            let empty = EncodeError::EmptyHeaderName;
            assert_eq!(encoded((b"", b"x"), version), Err(empty));
        }
        let none = EncodeError::NoEscape { name: name() };
        assert_eq!(encoded((b"x", b"a\nb"), Version::V1_0), Err(none));
        assert!(encoded((b"a:b", b""), Version::V1_0).is_err());
    }

    #[test]
    fn what_would_come_back_as_something_else_is_refused() {
        let dialect = Dialect::of(Version::V1_2);
        let mut bytes = BytesMut::new();
        for command in ["", "\r", "SEND\n", "SEND\0"] {
            let error = encode_frame(&Frame::new(command), dialect, &mut bytes).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{command:?}")),
                "{error}"
            );
        }
        for value in ["a\r", "a\n"] {
            let frame = Frame::new("CONNECT").with("login", value);
            let error = encode_frame(&frame, dialect, &mut bytes).unwrap_err();
            assert!(matches!(error, EncodeError::NoEscape { name } if name == "login"));
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_frame_goes_round() {
        use tokio_util::codec::Decoder as _;
        let frame = Frame::new("MESSAGE")
            .with("message-id", "a:b\\c\n")
            .with("empty", "");
        for version in [Version::V1_1, Version::V1_2] {
            let dialect = Dialect::of(version);
            let mut bytes = BytesMut::new();
            encode_frame(&frame, dialect, &mut bytes).unwrap();
            let mut decoder = Decoder::new(dialect, Limits::default());
            assert_eq!(decoder.decode(&mut bytes).unwrap().as_ref(), Some(&frame));
            assert!(bytes.is_empty());
        }
    }
}
