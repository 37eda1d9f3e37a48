//! A claimed row on its way to the broker.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Claimed, RowKey};
use crate::headers::{self, Outgoing};
use crate::outgoing;
use crate::stomp::SendFrame;

use super::holdings::Lease;
use super::memory::{Memory, Share};

/// A row under a lease of ours.
#[derive(Debug)]
pub(super) struct Row {
    /// Without its body, which is next to it.
    pub(super) claimed: Claimed,
    /// The body as JSON text; copies of it share its memory.
    pub(super) body: Bytes,
    /// What it takes of the relay's memory.
    pub(super) _share: Share,
    /// The token of the lease.
    pub(super) token: Uuid,
    /// When the lease ends by our own clock, read before the claim: never later than the
    /// database's end of it.
    pub(super) deadline: Instant,
}

impl Row {
    /// A claimed row.
    pub(super) fn new(mut claimed: Claimed, lease: Lease, memory: &Memory) -> Self {
        let body = Bytes::from(std::mem::take(&mut claimed.body));
        Self {
            _share: memory.share(body.len() + claimed.headers.len()),
            claimed,
            body,
            token: lease.token,
            deadline: lease.ends,
        }
    }

    /// Which row of the table it is.
    pub(super) fn row(&self) -> RowKey {
        self.claimed.row()
    }

    pub(super) fn id(&self) -> Uuid {
        self.claimed.id
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.claimed.key.as_deref()
    }

    /// The frame that carries the row, or why there can be none.
    pub(super) fn frame(&self, maximum_size: usize) -> Result<SendFrame, String> {
        let row = &self.claimed;
        if let Some(id) = &row.bad_id {
            return Err(format!("the id `{}` is not a UUID", id.escape_debug()));
        }
        let size = row.too_large.unwrap_or(self.body.len());
        if size > maximum_size {
            return Err(format!(
                "the body has {size} bytes, and the setting maximum_message_size allows {maximum_size}"
            ));
        }
        if row.destination.trim().is_empty() || row.destination.contains('\0') {
            return Err("the destination is empty or holds U+0000".to_owned());
        }
        let mut headers = own_headers(&row.headers)?;
        let standard = headers::standard(&Outgoing {
            id: row.id,
            destination: &row.destination,
        });
        // A row that somebody wrote by hand: only what it lacks.
        for (name, value) in standard {
            if !headers.iter().any(|(own, _)| *own == name) {
                headers.push((name, value));
            }
        }
        Ok(outgoing::frame(
            row.destination.clone(),
            headers,
            self.key(),
            self.body.clone(),
            Some(self.deadline),
        ))
    }
}

/// The stored headers as texts.
fn own_headers(stored: &str) -> Result<Vec<(String, String)>, String> {
    let Ok(Value::Object(headers)) = serde_json::from_str(stored) else {
        return Err("the column `headers` holds no JSON object".to_owned());
    };
    let mut texts = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(format!(
                    "the header `{}` is neither a text nor a number",
                    name.escape_debug()
                ));
            }
        };
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(format!(
                "the header `{}` has an empty name or holds U+0000",
                name.escape_debug()
            ));
        }
        texts.push((name, value));
    }
    Ok(texts)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row for the tests of this module's neighbours.
    pub(in crate::relay) fn row(seq: i64, key: Option<&str>, destination: &str) -> Row {
        let claimed = Claimed {
            seq,
            id: Uuid::from_u128(u128::try_from(seq).unwrap()),
            bad_id: None,
            destination: destination.to_owned(),
            body: "{}".to_owned(),
            headers: "{}".to_owned(),
            key: key.map(str::to_owned),
            stream: None,
            retry: 0,
            expired: false,
            too_large: None,
        };
        let lease = Lease {
            token: Uuid::nil(),
            ends: Instant::now() + std::time::Duration::from_secs(60),
        };
        Row::new(claimed, lease, &Memory::new(1_000))
    }

    #[tokio::test]
    async fn stored_headers_win_and_missing_ones_are_added() {
        let mut row = row(7, None, "/queue/a");
        row.claimed.headers =
            r#"{"dop-msg-id": "theirs", "n": 1, "gone": null, "receipt": "x"}"#.to_owned();
        let frame = row.frame(100).unwrap();
        let header = |name: &str| {
            let mut found = frame.headers.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert!(found.next().is_none(), "{name} twice");
            value
        };
        assert_eq!(header("dop-msg-id"), Some("theirs"));
        assert_eq!(header("dop-msg-destination"), Some("/queue/a"));
        assert_eq!(header("n"), Some("1"));
        assert_eq!(header("gone"), None);
        assert_eq!(header("receipt"), None);
        assert_eq!(header("persistent"), Some("true"));
        assert_eq!(header("content-type"), Some("application/json"));
        let end_of_the_lease = Some(row.deadline);
        assert_eq!(frame.not_after, end_of_the_lease);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_says_why() {
        for (headers, expected) in [
            ("[]", "no JSON object"),
            (r#"{"a": {}}"#, "`a` is neither"),
            (r#"{"a": "\u0000"}"#, "U+0000"),
            (r#"{"": "x"}"#, "empty name"),
        ] {
            let mut row = row(1, None, "/queue/a");
            row.claimed.headers = headers.to_owned();
            let reason = row.frame(100).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        assert!(row(1, None, " ").frame(100).is_err());
        let mut other = row(1, None, "/queue/a");
        other.claimed.bad_id = Some("order-7".to_owned());
        let reason = other.frame(100).unwrap_err();
        assert_eq!(reason, "the id `order-7` is not a UUID");
    }
}
