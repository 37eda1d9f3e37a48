//! Decodes bytes to frames: resumable, in linear time, with limits, and without panics.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio_util::codec::Decoder as TokioDecoder;

use super::defect::Defect;
use super::dialect::Dialect;
use super::frame::Frame;
use super::head;
use super::limits::Limits;
use super::oversized::{LongBody, LongHead};

/// A body of at least this size shares the input buffer. A smaller one is copied so that it does
/// not keep the whole buffer in memory.
const SHARED: usize = 32 * 1024;
/// After a body of at least this size the input gets a new buffer.
const LARGE: usize = 256 * 1024;
/// The minimum capacity reserved for a body.
const FIRST: usize = 64 * 1024;

/// Why the peer's bytes are not STOMP; the connection cannot continue. If a MESSAGE contains what
/// its ACK needs and its end can be found, it gets a [`Defect`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The command and the headers exceed the limit, in bytes.
    #[error("a frame's headers take more than {0} bytes")]
    HeadersTooLong(usize),
    /// The number of headers exceeds the limit.
    #[error("a frame has more than {0} headers")]
    TooManyHeaders(usize),
    /// The body exceeds the limit, in bytes.
    #[error("a frame's body takes more than {0} bytes")]
    BodyTooLong(usize),
    /// A command or a header is not UTF-8.
    #[error("a frame's command or header is not UTF-8")]
    NotUtf8,
    /// A header line has no colon or no name.
    #[error("a frame's header has no name or no colon")]
    MalformedHeader,
    /// A backslash sequence that this version's "Value Encoding" does not define.
    #[error("a frame's header holds an undefined escape sequence")]
    UndefinedEscape,
    /// `content-length` is not a number.
    #[error("a frame's content-length is not a number")]
    MalformedContentLength,
    /// No NUL follows the body: its `content-length` is wrong.
    #[error("a frame's body does not end where its content-length says")]
    MissingNul,
}

impl From<Defect> for DecodeError {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::NotUtf8 => Self::NotUtf8,
            Defect::MalformedHeader => Self::MalformedHeader,
            Defect::UndefinedEscape => Self::UndefinedEscape,
            Defect::HeadersTooLong(limit) => Self::HeadersTooLong(limit),
            Defect::TooManyHeaders(limit) => Self::TooManyHeaders(limit),
            Defect::BodyTooLong(limit) => Self::BodyTooLong(limit),
            Defect::WrongContentLength => Self::MissingNul,
        }
    }
}

/// What the decoder reads next.
#[derive(Debug)]
pub(super) enum State {
    /// The command and headers, after any heart-beats.
    Head,
    /// The headers of a MESSAGE that exceeds a header limit.
    LongHead(Box<LongHead>),
    /// The body; its length if `content-length` gives it.
    Body(Frame, Option<usize>),
    /// The body of a MESSAGE that exceeds the body limit.
    LongBody(Box<LongBody>),
}

/// The result of one decoding step.
pub(super) enum Step {
    /// More bytes are needed.
    Wait(State),
    /// Continue with this state.
    On(State),
    /// A complete frame.
    Whole(Frame),
}

/// Decodes the frames of client or server. Empty lines between frames are heart-beats and are
/// skipped; the code that reads the socket counts them as signs of life.
///
/// The time is linear in the number of bytes, however they are split, and memory is bounded by the
/// [`Limits`]. Do not use a decoder after an error.
#[derive(Debug)]
pub struct Decoder {
    dialect: Dialect,
    limits: Limits,
    state: State,
    /// How many bytes at the front of the buffer have been searched already.
    searched: usize,
    /// Where the complete lines of the head end: the command and headers so far.
    lines: Vec<usize>,
}

impl Decoder {
    /// Creates a decoder with this dialect and these limits.
    #[must_use]
    pub fn new(dialect: Dialect, limits: Limits) -> Self {
        Self {
            dialect,
            limits,
            state: State::Head,
            searched: 0,
            lines: Vec::new(),
        }
    }

    /// Changes the dialect for the following frames: the version is known once CONNECTED has
    /// arrived.
    pub fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// Searches for the end of the command and headers.
    fn head(&mut self, src: &mut BytesMut) -> Result<Step, DecodeError> {
        while let Some(at) = memchr(b'\n', &src[self.searched..]) {
            let end = self.searched + at;
            if end >= self.limits.head {
                break;
            }
            let start = self.lines.last().map_or(0, |end| end + 1);
            let is_empty = match &src[start..end] {
                [] => true,
                // No command begins with CR: before a frame this is a heart-beat in each version.
                [b'\r'] => start == 0 || self.dialect.has_crlf(),
                _ => false,
            };
            if is_empty {
                let frame = match start {
                    0 => None,
                    _ => Some(head::decode(&src[..start], &self.lines, self.dialect)?),
                };
                src.advance(end + 1);
                self.searched = 0;
                self.lines.clear();
                if let Some(frame) = frame {
                    return Ok(Step::On(self.body_of(frame)?));
                }
                continue;
            }
            // The first line is the command.
            if self.lines.len() > self.limits.headers {
                return self.long_head(src, Defect::TooManyHeaders(self.limits.headers));
            }
            self.lines.push(end);
            self.searched = end + 1;
        }
        if src.len() > self.limits.head {
            return self.long_head(src, Defect::HeadersTooLong(self.limits.head));
        }
        self.searched = src.len();
        Ok(Step::Wait(State::Head))
    }

    /// Continues with a head that exceeds a limit, if it belongs to a MESSAGE.
    fn long_head(&mut self, src: &mut BytesMut, defect: Defect) -> Result<Step, DecodeError> {
        if !head::is_lenient(src, &self.lines, self.dialect) {
            return Err(defect.into());
        }
        let kept = src.split_to(self.lines.last().map_or(0, |end| end + 1));
        self.searched = 0;
        let lines = std::mem::take(&mut self.lines);
        let long = LongHead::new(kept, lines, defect, self.limits.head);
        Ok(Step::On(State::LongHead(Box::new(long))))
    }

    /// Determines how to read the body of a frame.
    fn body_of(&self, mut frame: Frame) -> Result<State, DecodeError> {
        let limit = self.limits.body;
        let length = match head::content_length(&frame, self.dialect) {
            Ok(None) => return Ok(State::Body(frame, None)),
            Ok(Some(length)) => length,
            Err(_) if head::can_be_answered(&frame, self.dialect) => {
                frame.add_defect(Defect::WrongContentLength);
                return Ok(State::Body(frame, None));
            }
            Err(error) => return Err(error),
        };
        match length {
            // Below `usize::MAX`, because a NUL follows the body.
            Some(length) if length <= limit && length < usize::MAX => {
                Ok(State::Body(frame, Some(length)))
            }
            Some(length) if LongBody::may_have(length) => self.long_body(frame, Some(length)),
            // Exceeds `usize`, or what any broker accepts.
            _ => Err(DecodeError::BodyTooLong(limit)),
        }
    }

    /// Continues with a body that exceeds the limit, if its MESSAGE can be acknowledged.
    fn long_body(&self, mut frame: Frame, length: Option<usize>) -> Result<State, DecodeError> {
        let defect = Defect::BodyTooLong(self.limits.body);
        if !head::can_be_answered(&frame, self.dialect) {
            return Err(defect.into());
        }
        frame.add_defect(defect);
        let long = LongBody::new(frame, length, self.limits.body);
        Ok(State::LongBody(Box::new(long)))
    }

    /// Searches for the end of the body and takes its NUL too.
    fn body(
        &mut self,
        mut frame: Frame,
        length: Option<usize>,
        src: &mut BytesMut,
    ) -> Result<Step, DecodeError> {
        let end = match length {
            Some(length) if src.len() <= length => {
                grow(src, length + 1);
                return Ok(Step::Wait(State::Body(frame, Some(length))));
            }
            Some(length) => length,
            None => {
                let found = memchr(0, &src[self.searched..]).map(|at| self.searched + at);
                if found.unwrap_or(src.len()) > self.limits.body {
                    self.searched = 0;
                    return self.long_body(frame, None).map(Step::On);
                }
                let Some(end) = found else {
                    self.searched = src.len();
                    grow(src, self.limits.body.saturating_add(1));
                    return Ok(Step::Wait(State::Body(frame, None)));
                };
                end
            }
        };
        if src[end] != 0 {
            if !head::can_be_answered(&frame, self.dialect) {
                return Err(DecodeError::MissingNul);
            }
            frame.add_defect(Defect::WrongContentLength);
            return Ok(Step::On(State::Body(frame, None)));
        }
        self.searched = 0;
        frame.body = take(src, end);
        Ok(Step::Whole(frame))
    }
}

/// Takes a body and the NUL after it.
fn take(src: &mut BytesMut, end: usize) -> Bytes {
    if end < SHARED {
        let body = Bytes::copy_from_slice(&src[..end]);
        src.advance(end + 1);
        return body;
    }
    let body = src.split_to(end).freeze();
    src.advance(1);
    if end >= LARGE {
        // Otherwise a later body would keep this one's memory.
        *src = BytesMut::from(&src[..]);
    }
    body
}

impl TokioDecoder for Decoder {
    type Item = Frame;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        loop {
            let step = match std::mem::replace(&mut self.state, State::Head) {
                State::Head => self.head(src)?,
                State::Body(frame, length) => self.body(frame, length, src)?,
                State::LongHead(long) => match long.take(src, self.dialect)? {
                    Ok(frame) => Step::On(self.body_of(frame)?),
                    Err(long) => Step::Wait(State::LongHead(long)),
                },
                State::LongBody(long) => long.take(src)?,
            };
            match step {
                Step::Whole(frame) => return Ok(Some(frame)),
                Step::On(state) => self.state = state,
                Step::Wait(state) => {
                    self.state = state;
                    return Ok(None);
                }
            }
        }
    }
}

/// Makes room for the rest of a body. Doubles the buffer rather than reserving the announced length
/// at once, which the peer may have made up.
fn grow(src: &mut BytesMut, length: usize) {
    let wanted = length
        .min(src.len().saturating_mul(2))
        .max(FIRST.min(length));
    if src.capacity() < wanted {
        src.reserve(wanted - src.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::version::Version;

    fn decoder() -> Decoder {
        Decoder::new(Dialect::of(Version::V1_2), Limits::default())
    }

    fn all(decoder: &mut Decoder, bytes: &[u8], step: usize) -> Result<Vec<Frame>, DecodeError> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut buffer)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn decoding_does_not_depend_on_how_bytes_are_split() {
        let bytes = b"\n\r\nCONNECTED\r\nversion:1.2\r\nx:a\\cb\r\n\r\n\0\n\
            MESSAGE\nmessage-id:a\\cb\\\\\\n\\r\nempty:\ncontent-length:3\n\na\0b\0\n\n\
            ERROR\nmessage:no\nmessage:yes\n\nbody without length\0RECEIPT\nreceipt-id:1\n\n\0";
        for step in 1..=bytes.len() {
            let frames = all(&mut decoder(), bytes, step).unwrap();
            assert_eq!(frames.len(), 4, "in pieces of {step}");
            assert_eq!(
                frames[0].header("x"),
                Some("a\\cb"),
                "CONNECTED is not escaped"
            );
            assert_eq!(frames[1].header("message-id"), Some("a:b\\\n\r"));
            assert_eq!(frames[1].header("empty"), Some(""));
            assert_eq!(&frames[1].body[..], b"a\0b");
            assert_eq!(frames[2].header("message"), Some("no"));
            assert_eq!(&frames[2].body[..], b"body without length");
            assert_eq!(frames[3], Frame::new("RECEIPT").with("receipt-id", "1"));
        }
    }

    #[test]
    fn malformed_frames_are_errors() {
        use DecodeError::*;
        type Expected = fn(&DecodeError) -> bool;
        let cases: [(&[u8], Expected); 12] = [
            (b"MESSAGE\nx:\xff\n\n\0", |e| matches!(e, NotUtf8)),
            (b"\xff\n\n\0", |e| matches!(e, NotUtf8)),
            (b"MESSAGE\nx\n\n\0", |e| matches!(e, MalformedHeader)),
            (b"MESSAGE\n:x\n\n\0", |e| matches!(e, MalformedHeader)),
            (b"MESSAGE\nx:\\t\n\n\0", |e| matches!(e, UndefinedEscape)),
            (b"MESSAGE\nx:a\\\n\n\0", |e| matches!(e, UndefinedEscape)),
            (b"MESSAGE\ncontent-length:-1\n\n\0", |e| {
                matches!(e, MalformedContentLength)
            }),
            (b"MESSAGE\ncontent-length:1\n\nab\0", |e| {
                matches!(e, MissingNul)
            }),
            (b"MESSAGE\ncontent-length:99999999999999999999\n\n", |e| {
                matches!(e, BodyTooLong(16))
            }),
            (b"MESSAGE\na:1\nb:2\nc:3\n\n\0", |e| {
                matches!(e, TooManyHeaders(2))
            }),
            (b"MESSAGE\n\n12345678901234567", |e| {
                matches!(e, BodyTooLong(16))
            }),
            (
                b"MESSAGE\nx:1234567890123456789012345678901234567890123456789012345678\n\n\0",
                |e| matches!(e, HeadersTooLong(64)),
            ),
        ];
        let limits = Limits {
            head: 64,
            headers: 2,
            body: 16,
        };
        for (bytes, expected) in cases {
            for step in [1, bytes.len()] {
                let error = all(
                    &mut Decoder::new(Dialect::of(Version::V1_2), limits),
                    bytes,
                    step,
                )
                .unwrap_err();
                assert!(expected(&error), "{error} for {}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn each_version_has_its_own_escapes_and_line_ends() {
        let bytes = b"MESSAGE\nx:a\\cb\\\\\r\n\n\0";
        for (version, value) in [
            (Version::V1_0, "a\\cb\\\\\r"),
            (Version::V1_1, "a:b\\\r"),
            (Version::V1_2, "a:b\\"),
        ] {
            let mut decoder = Decoder::new(Dialect::of(version), Limits::default());
            let frames = all(&mut decoder, bytes, bytes.len()).unwrap();
            assert_eq!(frames[0].header("x"), Some(value), "{version}");
        }
        let mut decoder = Decoder::new(Dialect::of(Version::V1_1), Limits::default());
        let error = all(&mut decoder, b"MESSAGE\nx:\\r\n\n\0", 1).unwrap_err();
        assert!(matches!(error, DecodeError::UndefinedEscape), "{error}");
    }

    #[test]
    fn a_body_does_not_keep_a_much_larger_buffer() {
        let mut decoder = decoder();
        let mut buffer = BytesMut::new();
        let large = vec![b'x'; 1 << 20];
        buffer.extend_from_slice(b"MESSAGE\ncontent-length:1048576\n\n");
        buffer.extend_from_slice(&large);
        buffer.extend_from_slice(b"\0MESSAGE\n\nsmall\0");
        let first = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(first.body.len(), large.len());
        assert!(buffer.capacity() < 1024, "{}", buffer.capacity());
        let second = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(&second.body[..], b"small");
    }

    #[test]
    fn an_announced_length_reserves_no_memory() {
        let mut buffer = BytesMut::from(&b"MESSAGE\ncontent-length:134217728\n\nx"[..]);
        assert!(decoder().decode(&mut buffer).unwrap().is_none());
        assert!(buffer.capacity() <= 2 * FIRST, "{}", buffer.capacity());
    }
}
