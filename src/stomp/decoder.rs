//! Bytes to frames: resumable, linear in the input, bounded, and without panics.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio_util::codec::Decoder as TokioDecoder;

use super::frame::Frame;

/// Why the peer's bytes are not STOMP; the connection cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A command and its headers take more than the limit.
    #[error("a frame's headers take more than {0} bytes")]
    HeadersTooLong(usize),
    /// A body is longer than the limit.
    #[error("a frame's body takes more than {0} bytes")]
    BodyTooLong(usize),
    /// A command or a header is not UTF-8.
    #[error("a frame's command or header is not UTF-8")]
    NotUtf8,
    /// A header line without a colon, or without a name.
    #[error("a frame's header has no name or no colon")]
    MalformedHeader,
    /// A backslash that STOMP 1.2, "Value Encoding", does not know.
    #[error("a frame's header holds an undefined escape sequence")]
    UndefinedEscape,
    /// `content-length` is not a number.
    #[error("a frame's content-length is not a number")]
    MalformedContentLength,
    /// The body is not followed by NUL: its `content-length` is wrong.
    #[error("a frame's body does not end where its content-length says")]
    MissingNul,
}

#[derive(Debug)]
enum State {
    Command,
    Headers(Frame),
    Body(Frame, Option<usize>),
}

/// Decodes the frames of either side. Lines that are empty between frames are heart-beats: they
/// are skipped, and whoever reads the socket counts them as signs of life.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes at the front of the buffer that were searched in vain.
    searched: usize,
    /// Bytes of this frame's headers that were taken from the buffer.
    taken: usize,
    headers_limit: usize,
    body_limit: usize,
}

impl Default for Decoder {
    /// Headers up to 1 MiB, bodies up to 128 MiB (RabbitMQ's own default limit).
    fn default() -> Self {
        Self::new(1 << 20, 128 << 20)
    }
}

impl Decoder {
    /// A decoder with limits in bytes, for a frame's headers together and for its body.
    #[must_use]
    pub fn new(headers_limit: usize, body_limit: usize) -> Self {
        Self {
            state: State::Command,
            searched: 0,
            taken: 0,
            headers_limit,
            body_limit,
        }
    }

    /// The next line without its end, where it is there.
    fn line(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
        let found = memchr(b'\n', &src[self.searched..]).map(|at| self.searched + at);
        let length = found.unwrap_or(src.len());
        if self.taken + length > self.headers_limit {
            return Err(DecodeError::HeadersTooLong(self.headers_limit));
        }
        let Some(end) = found else {
            self.searched = src.len();
            return Ok(None);
        };
        self.searched = 0;
        self.taken += end + 1;
        let mut line = src.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }

    /// The body, where all of it is there; its NUL is taken too.
    fn body(
        &mut self,
        src: &mut BytesMut,
        length: Option<usize>,
    ) -> Result<Option<Bytes>, DecodeError> {
        let end = match length {
            Some(length) if src.len() <= length => {
                // Once for the whole body, not again and again as it arrives.
                src.reserve(length + 1 - src.len());
                return Ok(None);
            }
            Some(length) => length,
            None => {
                let found = memchr(0, &src[self.searched..]).map(|at| self.searched + at);
                if found.unwrap_or(src.len()) > self.body_limit {
                    return Err(DecodeError::BodyTooLong(self.body_limit));
                }
                let Some(end) = found else {
                    self.searched = src.len();
                    return Ok(None);
                };
                end
            }
        };
        if src[end] != 0 {
            return Err(DecodeError::MissingNul);
        }
        self.searched = 0;
        let body = src.split_to(end).freeze();
        src.advance(1);
        Ok(Some(body))
    }
}

impl TokioDecoder for Decoder {
    type Item = Frame;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        loop {
            match std::mem::replace(&mut self.state, State::Command) {
                State::Command => {
                    self.taken = 0;
                    let Some(line) = self.line(src)? else {
                        return Ok(None);
                    };
                    if !line.is_empty() {
                        self.state = State::Headers(Frame::new(text(&line)?));
                    }
                }
                State::Headers(mut frame) => match self.line(src)? {
                    None => {
                        self.state = State::Headers(frame);
                        return Ok(None);
                    }
                    Some(line) if line.is_empty() => {
                        let length = content_length(&frame, self.body_limit)?;
                        self.state = State::Body(frame, length);
                    }
                    Some(line) => {
                        frame.headers.push(header(&frame.command, text(&line)?)?);
                        self.state = State::Headers(frame);
                    }
                },
                State::Body(mut frame, length) => {
                    let Some(body) = self.body(src, length)? else {
                        self.state = State::Body(frame, length);
                        return Ok(None);
                    };
                    frame.body = body;
                    return Ok(Some(frame));
                }
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

fn header(command: &str, line: &str) -> Result<(String, String), DecodeError> {
    let (name, value) = line.split_once(':').ok_or(DecodeError::MalformedHeader)?;
    if name.is_empty() {
        return Err(DecodeError::MalformedHeader);
    }
    // STOMP 1.2, "Value Encoding": these two are as in STOMP 1.0.
    if matches!(command, "CONNECT" | "CONNECTED") {
        return Ok((name.to_owned(), value.to_owned()));
    }
    Ok((unescape(name)?, unescape(value)?))
}

fn unescape(text: &str) -> Result<String, DecodeError> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('r') => '\r',
                Some('n') => '\n',
                Some('c') => ':',
                Some('\\') => '\\',
                _ => return Err(DecodeError::UndefinedEscape),
            },
            other => other,
        });
    }
    Ok(plain)
}

fn content_length(frame: &Frame, limit: usize) -> Result<Option<usize>, DecodeError> {
    let Some(value) = frame.header("content-length") else {
        return Ok(None);
    };
    let value = value.trim_matches(' ');
    if value.is_empty() || !value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(DecodeError::MalformedContentLength);
    }
    match value.parse() {
        Ok(length) if length <= limit => Ok(Some(length)),
        // Too long for the limit, or for a number at all.
        _ => Err(DecodeError::BodyTooLong(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_pieces_in_which_bytes_arrive_make_no_difference() {
        let bytes = b"\n\r\nCONNECTED\r\nversion:1.2\r\nx:a\\cb\r\n\r\n\0\n\
            MESSAGE\nmessage-id:a\\cb\\\\\\n\\r\nempty:\ncontent-length:3\n\na\0b\0\n\n\
            ERROR\nmessage:no\nmessage:yes\n\nbody without length\0RECEIPT\nreceipt-id:1\n\n\0";
        for step in 1..=bytes.len() {
            let frames = all(&mut Decoder::default(), bytes, step).unwrap();
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
    fn what_is_not_stomp_is_an_error() {
        use DecodeError::*;
        type Expected = fn(&DecodeError) -> bool;
        let cases: [(&[u8], Expected); 11] = [
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
            (b"MESSAGE\n\n12345678901234567", |e| {
                matches!(e, BodyTooLong(16))
            }),
            (
                b"MESSAGE\nx:1234567890123456789012345678901234567890123456789012345678",
                |e| matches!(e, HeadersTooLong(64)),
            ),
        ];
        for (bytes, expected) in cases {
            for step in [1, bytes.len()] {
                let error = all(&mut Decoder::new(64, 16), bytes, step).unwrap_err();
                assert!(expected(&error), "{error} for {}", bytes.escape_ascii());
            }
        }
    }
}
