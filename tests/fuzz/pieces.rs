//! Bytes through the decoder in pieces, with a look at what is held meanwhile. The property tests
//! and the fuzzing of the decoder share it.

use bytes::BytesMut;
use diesel_outbox::stomp::Limits;
use diesel_outbox::stomp::codec::{Decoder, Dialect, Frame, encode_frame};
use tokio_util::codec::Decoder as _;

/// What comes of the bytes: the frames, and the error after them.
pub(crate) type Outcome = (Vec<Frame>, Option<String>);

/// Decodes bytes in pieces of these sizes, over and over.
pub(crate) fn decode(bytes: &[u8], sizes: &[usize], dialect: Dialect, limits: Limits) -> Outcome {
    let mut decoder = Decoder::new(dialect, limits);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    let mut largest = 0;
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| (*size).max(1));
        let (piece, later) = rest.split_at(rest.len().min(size));
        (rest, largest) = (later, largest.max(piece.len()));
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    check(&frame, limits);
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
        let most = limits.head.max(limits.body).min(bytes.len());
        assert!(buffer.len() <= most, "{} bytes are held", buffer.len());
        // The buffer may have as much again, or the least for a body, and grows by doubling.
        let most = (2 * (most + largest)).max(64 * 1024);
        let capacity = buffer.capacity();
        assert!(capacity <= 2 * most + 1024, "{capacity} for {most}");
    }
    (frames, None)
}

fn check(frame: &Frame, limits: Limits) {
    let texts = |(name, value): (&str, &str)| name.len() + value.len();
    let head = frame.command.len() + frame.headers.iter().map(texts).sum::<usize>();
    // U+FFFD takes three bytes for a single one, and what answers a message is kept wherever it is.
    let (times, more) = if frame.defects.is_empty() {
        (1, 0)
    } else {
        (3 * 7, 6)
    };
    assert!(head <= limits.head.saturating_mul(times));
    assert!(frame.headers.len() <= limits.headers.saturating_add(more));
    assert!(frame.body.len() <= limits.body);
}

/// A frame that can be encoded comes back as it is.
pub(crate) fn go_round(frame: Frame, dialect: Dialect) {
    if !frame.defects.is_empty() {
        return;
    }
    let mut bytes = BytesMut::new();
    // Such as a NUL in a header, which the decoder takes.
    if encode_frame(&frame, dialect, &mut bytes).is_err() {
        return;
    }
    let (frames, error) = decode(&bytes, &[usize::MAX], dialect, Limits::default());
    assert_eq!(error, None);
    let is_counted = frame.body.is_empty() || frame.header("content-length").is_some();
    let expected = match is_counted {
        true => frame,
        false => {
            let length = frame.body.len().to_string();
            frame.with("content-length", length)
        }
    };
    // Compared as a whole: what is shown of a frame leaves its body out.
    assert!(frames == [expected], "{frames:?}");
}
