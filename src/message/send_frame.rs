//! The SEND frame of a message.

use bytes::Bytes;
use tokio::time::Instant;

use crate::headers;
use crate::stomp::SendFrame;

/// The SEND frame of a message: its own headers without the reserved ones, and the headers that every message
/// has. The client adds `receipt` and `content-length`.
pub(crate) fn frame(
    destination: String,
    own: impl IntoIterator<Item = (String, String)>,
    key: Option<&str>,
    body: Bytes,
    not_after: Option<Instant>,
) -> SendFrame {
    let mut headers: Vec<(String, String)> = own
        .into_iter()
        .filter(|(name, _)| !headers::is_reserved(name))
        .collect();
    let usual = [
        (headers::KEY, key),
        ("content-type", Some("application/json")),
        ("persistent", Some("true")),
    ];
    for (name, value) in usual {
        let Some(value) = value else { continue };
        if !headers.iter().any(|(own, _)| own == name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    SendFrame {
        destination,
        headers,
        body,
        not_after,
    }
}
