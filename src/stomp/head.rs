//! Decodes a frame's command and headers.

use memchr::memchr;

use super::decoder::DecodeError;
use super::defect::Defect;
use super::dialect::{Dialect, Escapes};
use super::frame::Frame;
use super::headers::Headers;
use super::version::Version;

/// The command of frames that are decoded as far as possible: the message's sender is not this
/// connection's peer, and the message can be acknowledged whatever its other headers contain.
pub(super) const LENIENT: &[u8] = b"MESSAGE";

/// The headers that acknowledge a MESSAGE or determine its end.
pub(super) const NEEDED: [&str; 6] = [
    "subscription",
    "destination",
    "message-id",
    "ack",
    "redelivered",
    "content-length",
];

/// Decodes a head whose lines end at the LFs in `ends`. A MESSAGE with malformed headers is decoded
/// as far as possible.
pub(super) fn decode(head: &[u8], ends: &[usize], dialect: Dialect) -> Result<Frame, DecodeError> {
    match parse(head, ends, dialect) {
        Err(error) if is_lenient(head, ends, dialect) => {
            let frame = parse_leniently(head, ends, dialect);
            if can_be_answered(&frame, dialect) {
                Ok(frame)
            } else {
                Err(error)
            }
        }
        result => result,
    }
}

/// Whether the first line is the command of a frame that may have defects.
pub(super) fn is_lenient(head: &[u8], ends: &[usize], dialect: Dialect) -> bool {
    lines(ends, head, dialect)
        .next()
        .is_some_and(|(start, end)| head[start..end] == *LENIENT)
}

/// Whether a MESSAGE contains what its ACK or NACK needs.
pub(super) fn can_be_answered(frame: &Frame, dialect: Dialect) -> bool {
    let has = |name| {
        frame
            .header(name)
            .is_some_and(|value| !value.is_empty() && !value.contains(char::REPLACEMENT_CHARACTER))
    };
    let version = dialect.version();
    frame.command.as_bytes() == LENIENT
        && frame.header("destination").is_some()
        && has("message-id")
        && (version == Version::V1_0 || has("subscription"))
        && (version < Version::V1_2 || has("ack"))
}

/// The start and end of each line, without line breaks.
fn lines<'a>(
    ends: &'a [usize],
    head: &'a [u8],
    dialect: Dialect,
) -> impl ExactSizeIterator<Item = (usize, usize)> + 'a {
    let mut start = 0;
    ends.iter().map(move |&end| {
        let has_return = dialect.has_crlf() && head[start..end].ends_with(b"\r");
        let line = (start, end - usize::from(has_return));
        start = end + 1;
        line
    })
}

fn parse(head: &[u8], ends: &[usize], dialect: Dialect) -> Result<Frame, DecodeError> {
    let text = std::str::from_utf8(head).map_err(|_| Defect::NotUtf8)?;
    let mut lines = lines(ends, head, dialect);
    let (_, end) = lines.next().unwrap_or_default();
    let mut frame = Frame::new(&text[..end]);
    // Neither has escape sequences in any version, as in STOMP 1.0 (STOMP 1.2, "Value Encoding").
    let is_plain = matches!(frame.command.as_str(), "CONNECT" | "CONNECTED");
    let is_escaped = !is_plain && dialect.read != Escapes::None && memchr(b'\\', head).is_some();
    let count = lines.len();
    frame.headers = if is_escaped {
        Headers::with_capacity(count, head.len())
    } else {
        Headers::of_text(text, count)
    };
    for (start, end) in lines {
        let colon = memchr(b':', &head[start..end]).ok_or(Defect::MalformedHeader)?;
        if colon == 0 {
            return Err(Defect::MalformedHeader.into());
        }
        let colon = start + colon;
        if !is_escaped {
            frame.headers.found(start, colon, end);
        } else if memchr(b'\\', &head[start..end]).is_none() {
            let (name, value) = (&text[start..colon], &text[colon + 1..end]);
            frame.headers.push(name, value);
        } else {
            let unescape = |text| unescape(text, dialect.read).ok_or(Defect::UndefinedEscape);
            let name = unescape(&text[start..colon])?;
            let value = unescape(&text[colon + 1..end])?;
            frame.headers.push(&name, &value);
        }
    }
    Ok(frame)
}

/// Decodes the head of a MESSAGE as far as possible and lists its defects.
fn parse_leniently(head: &[u8], ends: &[usize], dialect: Dialect) -> Frame {
    let mut lines = lines(ends, head, dialect);
    let (start, end) = lines.next().unwrap_or_default();
    let mut frame = Frame::new(&String::from_utf8_lossy(&head[start..end]));
    for (start, end) in lines {
        let line = &head[start..end];
        let Some(colon) = memchr(b':', line).filter(|colon| *colon > 0) else {
            frame.add_defect(Defect::MalformedHeader);
            continue;
        };
        if std::str::from_utf8(line).is_err() {
            frame.add_defect(Defect::NotUtf8);
        }
        let (name, value) = (
            String::from_utf8_lossy(&line[..colon]),
            String::from_utf8_lossy(&line[colon + 1..]),
        );
        let plain = [&name, &value].map(|text| unescape(text, dialect.read));
        if let [Some(name), Some(value)] = plain {
            frame.headers.push(&name, &value);
        } else {
            frame.add_defect(Defect::UndefinedEscape);
            frame.headers.push(&name, &value);
        }
    }
    frame
}

/// Returns `None` if the version does not define an escape sequence in it.
fn unescape(text: &str, escapes: Escapes) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // STOMP 1.0 has no escape sequences.
    while escapes != Escapes::None
        && let Some(at) = memchr(b'\\', rest.as_bytes())
    {
        plain.push_str(&rest[..at]);
        let character = rest.as_bytes().get(at + 1).copied();
        plain.push(character.and_then(|character| escapes.meaning(character))?);
        // The escaped character is ASCII.
        rest = &rest[at + 2..];
    }
    plain.push_str(rest);
    Some(plain)
}

/// The frame's `content-length`; the inner `None` is a number too large for `usize`.
pub(super) fn content_length(
    frame: &Frame,
    dialect: Dialect,
) -> Result<Option<Option<usize>>, DecodeError> {
    let mut all = frame.headers.iter();
    let is_length = |(name, _): &(&str, &str)| *name == "content-length";
    // RabbitMQ 3.10 passes on the `content-length` headers of an AMQP publisher and adds the
    // correct one as the last header.
    let found = match dialect.has_last_length && frame.command.as_bytes() == LENIENT {
        true => all.rfind(is_length),
        false => all.find(is_length),
    };
    let Some((_, value)) = found else {
        return Ok(None);
    };
    let value = value.trim_matches(' ');
    if value.is_empty() || !value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(DecodeError::MalformedContentLength);
    }
    Ok(Some(value.parse().ok()))
}
