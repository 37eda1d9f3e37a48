//! Encodes frames to bytes: tokio-stomp-2's client messages, with what its own encoder leaves out,
//! and frames of client or server.

use bytes::{BufMut, BytesMut};
use memchr::memchr;
use tokio_stomp_2::{AckMode, Message, ToServer};

use super::dialect::{Dialect, Escapes};
use super::frame::Frame;

/// Why a frame cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A header contains NUL, for which STOMP has no escape sequence.
    #[error("header {name:?} holds a NUL character, which STOMP cannot carry")]
    Nul {
        /// The header.
        name: String,
    },
    /// A header has no name; RabbitMQ closes the connection for it.
    #[error("a header has an empty name")]
    EmptyHeaderName,
    /// A header contains characters that STOMP 1.0, CONNECT and CONNECTED cannot escape.
    #[error(
        "header {name:?} holds a line break, or a colon in its name, which STOMP 1.0 and CONNECT \
         cannot carry"
    )]
    NoEscape {
        /// The header.
        name: String,
    },
    /// The command is empty or contains a line break or NUL.
    #[error("the command {command:?} is empty, or holds a line break or a NUL character")]
    Command {
        /// The command.
        command: String,
    },
}

/// Appends a client's frame: `message` with its `extra_headers`, then `body` with its length.
/// Appends nothing on an error.
///
/// A body and `headers` inside `message` are written too. If there are two bodies, `body` is
/// written.
///
/// # Errors
///
/// [`EncodeError`] if a header cannot be encoded.
pub fn encode(
    message: &Message<ToServer>,
    body: Option<&[u8]>,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let rules = Rules::of(command(&message.content), dialect);
    let mut result = Ok(());
    for_each_header(message, dialect, |name, value| {
        if result.is_ok() {
            result = rules.check(name, value);
        }
    });
    result?;
    put(message, body, dialect, dst);
    Ok(())
}

/// Appends a client's frame like [`encode`], without a check of its headers: they must have passed
/// [`check`] in the same dialect.
pub(super) fn put(
    message: &Message<ToServer>,
    body: Option<&[u8]>,
    dialect: Dialect,
    dst: &mut BytesMut,
) {
    let command = command(&message.content);
    let mut writer = Writer::begin(command, Rules::of(command, dialect), dst);
    for_each_header(message, dialect, |name, value| writer.header(name, value));
    let inner = match &message.content {
        ToServer::Send { body, .. } => body.as_deref(),
        _ => None,
    };
    let body = body.or(inner);
    writer.end(body.unwrap_or_default(), body.is_some());
}

/// Appends a frame of client or server. Adds `content-length` if there is a body and no such
/// header. Appends nothing on an error.
///
/// # Errors
///
/// [`EncodeError`] if a header or the command cannot be encoded.
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
    let rules = Rules::of(&frame.command, dialect);
    for (name, value) in frame.headers.iter() {
        rules.check(name.as_bytes(), value.as_bytes())?;
    }
    let mut writer = Writer::begin(&frame.command, rules, dst);
    for (name, value) in frame.headers.iter() {
        writer.header(name.as_bytes(), value.as_bytes());
    }
    let is_counted = frame.body.is_empty() || frame.header("content-length").is_some();
    writer.end(&frame.body, !is_counted);
    Ok(())
}

fn command(content: &ToServer) -> &'static str {
    match content {
        ToServer::Connect { .. } => "CONNECT",
        ToServer::Send { .. } => "SEND",
        ToServer::Subscribe { .. } => "SUBSCRIBE",
        ToServer::Unsubscribe { .. } => "UNSUBSCRIBE",
        ToServer::Ack { .. } => "ACK",
        ToServer::Nack { .. } => "NACK",
        ToServer::Begin { .. } => "BEGIN",
        ToServer::Commit { .. } => "COMMIT",
        ToServer::Abort { .. } => "ABORT",
        ToServer::Disconnect { .. } => "DISCONNECT",
    }
}

/// Calls `each` with the names and values of a frame's headers, in the order of tokio-stomp-2.
fn for_each_header(
    message: &Message<ToServer>,
    dialect: Dialect,
    mut each: impl FnMut(&[u8], &[u8]),
) {
    let mut text = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            each(name.as_bytes(), value.as_bytes());
        }
    };
    match &message.content {
        ToServer::Connect {
            accept_version,
            host,
            login,
            passcode,
            heartbeat,
        } => {
            text("accept-version", Some(accept_version));
            text("host", Some(host));
            text("login", login.as_deref());
            text("passcode", passcode.as_deref());
            let heartbeat = heartbeat.map(|(send, receive)| format!("{send},{receive}"));
            text("heart-beat", heartbeat.as_deref());
        }
        ToServer::Send {
            destination,
            transaction,
            headers,
            body: _,
        } => {
            text("destination", Some(destination));
            text("transaction", transaction.as_deref());
            for (name, value) in headers.iter().flatten() {
                text(name, Some(value));
            }
        }
        ToServer::Subscribe {
            destination,
            id,
            ack,
        } => {
            text("destination", Some(destination));
            text("id", Some(id));
            let ack = ack.map(|mode| match mode {
                AckMode::Auto => "auto",
                AckMode::Client => "client",
                AckMode::ClientIndividual => "client-individual",
            });
            text("ack", ack);
        }
        ToServer::Unsubscribe { id } => text("id", Some(id)),
        ToServer::Ack { id, transaction } | ToServer::Nack { id, transaction } => {
            text(dialect.ack_header(), Some(id));
            text("transaction", transaction.as_deref());
        }
        ToServer::Begin { transaction }
        | ToServer::Commit { transaction }
        | ToServer::Abort { transaction } => text("transaction", Some(transaction)),
        ToServer::Disconnect { receipt } => text("receipt", receipt.as_deref()),
    }
    for (name, value) in &message.extra_headers {
        each(name, value);
    }
}

/// What the headers of a frame may hold, and how they are written.
#[derive(Clone, Copy)]
struct Rules {
    escapes: Escapes,
    /// Whether it is CONNECT or CONNECTED.
    is_plain: bool,
}

impl Rules {
    fn of(command: &str, dialect: Dialect) -> Self {
        // Encoded as in STOMP 1.0, because the version is not agreed on yet.
        let is_plain = matches!(command, "CONNECT" | "CONNECTED");
        let escapes = if is_plain {
            Escapes::None
        } else {
            dialect.written
        };
        Self { escapes, is_plain }
    }

    fn check(self, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        check(name, value, self.escapes)?;
        // A reader of STOMP 1.2 would take a CR at the end for a part of the line break.
        if self.is_plain && (name.contains(&b'\r') || value.contains(&b'\r')) {
            return Err(no_escape(name));
        }
        Ok(())
    }
}

/// Writes one frame, whose headers are checked.
struct Writer<'a> {
    dst: &'a mut BytesMut,
    escapes: Escapes,
}

impl<'a> Writer<'a> {
    fn begin(command: &str, rules: Rules, dst: &'a mut BytesMut) -> Self {
        dst.reserve(256);
        dst.put_slice(command.as_bytes());
        dst.put_u8(b'\n');
        Self {
            dst,
            escapes: rules.escapes,
        }
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        self.dst.reserve(name.len() + value.len() + 2);
        self.put(name);
        self.dst.put_u8(b':');
        self.put(value);
        self.dst.put_u8(b'\n');
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

/// Checks that a header can be encoded.
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
    fn the_error_names_the_header() {
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
    fn frames_that_would_decode_differently_are_refused() {
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
    fn a_decoded_frame_equals_the_encoded_one() {
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
