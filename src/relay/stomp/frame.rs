//! The SEND frame of a row.

use serde_json::Value;

use crate::engine::row::Row;
use crate::headers::{self, Outgoing};
use crate::message::send_frame;
use crate::stomp::SendFrame;

/// The headers of every message. A row that was written without this crate may lack some of them.
const STANDARD: [&str; 5] = [
    headers::MSG_ID,
    headers::MSG_DESTINATION,
    headers::MSG_TYPE,
    headers::MSG_SENT_TIME,
    headers::CORRELATION_ID,
];

/// The frame that carries a row, or the reason why no frame can.
pub(super) fn frame(row: &Row, maximum_size: usize) -> Result<SendFrame, String> {
    let claimed = &row.claimed;
    if let Some(id) = &claimed.bad_id {
        return Err(format!("the id `{}` is not a UUID", id.escape_debug()));
    }
    let size = claimed.too_large.unwrap_or(row.body.len());
    if size > maximum_size {
        return Err(format!(
            "the body has {size} bytes, and the setting maximum_message_size allows {maximum_size}"
        ));
    }
    if claimed.destination.trim().is_empty() || claimed.destination.contains('\0') {
        return Err("the destination is empty or holds U+0000".to_owned());
    }
    let mut headers = stored_headers(&claimed.headers)?;
    add_missing(
        &mut headers,
        &Outgoing {
            id: claimed.id,
            destination: &claimed.destination,
        },
    );
    Ok(send_frame::frame(
        claimed.destination.clone(),
        headers,
        row.key(),
        row.body.clone(),
        Some(row.send_before()),
    ))
}

/// Adds the standard headers that a row lacks. They are generated only then.
fn add_missing(headers: &mut Vec<(String, String)>, message: &Outgoing<'_>) {
    let has = |name: &str| headers.iter().any(|(own, _)| own == name);
    if STANDARD.into_iter().all(has) {
        return;
    }
    let mut standard = headers::standard(message);
    standard.retain(|name, _| !has(name));
    headers.extend(standard);
}

/// The stored headers as texts.
fn stored_headers(stored: &str) -> Result<Vec<(String, String)>, String> {
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
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::engine::row::tests::row;
    use crate::runtime::lease_clock;

    #[tokio::test]
    async fn stored_headers_win_and_missing_ones_are_added() {
        let mut row = row(7, None, "/queue/a");
        row.claimed.headers =
            r#"{"dop-msg-id": "theirs", "n": 1, "gone": null, "receipt": "x"}"#.to_owned();
        let frame = frame(&row, 100).unwrap();
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
        let end_of_the_lease = Some(row.send_before());
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
            let reason = frame(&row, 100).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        assert!(frame(&row(1, None, " "), 100).is_err());
        let mut other = row(1, None, "/queue/a");
        other.claimed.bad_id = Some("order-7".to_owned());
        let reason = frame(&other, 100).unwrap_err();
        assert_eq!(reason, "the id `order-7` is not a UUID");
    }

    #[tokio::test]
    async fn a_row_with_all_headers_is_sent_with_its_own() {
        let mut row = row(7, None, "/queue/a");
        let stored: serde_json::Map<String, Value> = STANDARD
            .map(|name| (name.to_owned(), Value::from("theirs")))
            .into_iter()
            .collect();
        row.claimed.headers = Value::Object(stored).to_string();
        let frame = frame(&row, 100).unwrap();
        for name in STANDARD {
            let mut found = frame.headers.iter().filter(|(own, _)| own == name);
            assert_eq!(found.next().unwrap().1, "theirs", "{name}");
            assert!(found.next().is_none(), "{name} twice");
        }
        let standard = headers::standard(&Outgoing {
            id: row.claimed.id,
            destination: "/queue/a",
        });
        assert!(
            standard
                .keys()
                .eq(&std::collections::BTreeSet::from(STANDARD)),
            "the list is complete"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_late_when_the_machine_was_suspended_for_the_lease() {
        let row = row(7, None, "/queue/a");
        let is_late = || frame(&row, 100).unwrap().not_after.unwrap() <= Instant::now();
        assert!(!is_late());
        lease_clock::suspend(Duration::from_secs(60));
        assert!(is_late());
    }
}
