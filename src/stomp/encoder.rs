//! Frames to bytes. The client's go through tokio-stomp-2's encoder, completed by what it leaves
//! out: further headers, the length of the body, the body without a copy of its own.

use bytes::{BufMut, BytesMut};
use tokio_stomp_2::client::ClientCodec;
use tokio_stomp_2::{Message, ToServer};
use tokio_util::codec::Encoder;

use super::frame::Frame;

/// A frame that tokio-stomp-2 would not write.
#[derive(Debug, thiserror::Error)]
#[error("the frame could not be encoded: {0}")]
pub struct EncodeError(String);

/// Writes a client's frame: `message` with its `extra_headers`, then `body` with its length.
///
/// `message` itself carries no body and no headers beyond those of its type.
pub(crate) fn encode(
    message: Message<ToServer>,
    body: Option<&[u8]>,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let Message {
        content,
        extra_headers,
    } = message;
    let is_connect = matches!(content, ToServer::Connect { .. });
    ClientCodec
        .encode(content.into(), dst)
        .map_err(|error| EncodeError(error.to_string()))?;
    // The blank line and the NUL, which come after the rest.
    dst.truncate(dst.len() - 2);
    for (name, value) in &extra_headers {
        header(name, value, !is_connect, dst);
    }
    finish(body, dst);
    Ok(())
}

/// Writes a frame of either side as it stands, with a `content-length` where there is a body.
pub fn encode_frame(frame: &Frame, dst: &mut BytesMut) {
    let escaped = !matches!(frame.command.as_str(), "CONNECT" | "CONNECTED");
    dst.put_slice(frame.command.as_bytes());
    dst.put_u8(b'\n');
    for (name, value) in &frame.headers {
        header(name.as_bytes(), value.as_bytes(), escaped, dst);
    }
    finish((!frame.body.is_empty()).then_some(&frame.body[..]), dst);
}

fn finish(body: Option<&[u8]>, dst: &mut BytesMut) {
    let body = match body {
        Some(body) => {
            dst.put_slice(format!("content-length:{}\n", body.len()).as_bytes());
            body
        }
        None => &[],
    };
    dst.reserve(body.len() + 2);
    dst.put_u8(b'\n');
    dst.put_slice(body);
    dst.put_u8(0);
}

fn header(name: &[u8], value: &[u8], escaped: bool, dst: &mut BytesMut) {
    dst.reserve(name.len() + value.len() + 2);
    put(name, escaped, dst);
    dst.put_u8(b':');
    put(value, escaped, dst);
    dst.put_u8(b'\n');
}

/// STOMP 1.2, "Value Encoding".
fn put(bytes: &[u8], escaped: bool, dst: &mut BytesMut) {
    if !escaped {
        dst.put_slice(bytes);
        return;
    }
    for &byte in bytes {
        match byte {
            b'\r' => dst.put_slice(b"\\r"),
            b'\n' => dst.put_slice(b"\\n"),
            b':' => dst.put_slice(b"\\c"),
            b'\\' => dst.put_slice(b"\\\\"),
            other => dst.put_u8(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_completed_and_escaped() {
        let mut bytes = BytesMut::new();
        let message = Message {
            content: ToServer::Send {
                destination: "/queue/a:b".to_owned(),
                transaction: None,
                headers: None,
                body: None,
            },
            extra_headers: vec![(b"x:y".to_vec(), b"a\\b\r\nc".to_vec())],
        };
        encode(message, Some(b"{\0}"), &mut bytes).unwrap();
        assert_eq!(
            &bytes[..],
            b"SEND\ndestination:/queue/a\\cb\nx\\cy:a\\\\b\\r\\nc\ncontent-length:3\n\n{\0}\0"
        );
    }

    #[test]
    fn a_frame_goes_round() {
        use crate::stomp::decoder::Decoder;
        use tokio_util::codec::Decoder as _;
        let frame = Frame::new("MESSAGE")
            .with("message-id", "a:b\\c\n")
            .with("empty", "");
        let mut bytes = BytesMut::new();
        encode_frame(&frame, &mut bytes);
        assert_eq!(Decoder::default().decode(&mut bytes).unwrap(), Some(frame));
        assert!(bytes.is_empty());
    }
}
