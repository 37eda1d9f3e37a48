//! The signature of a row: how it is made and written; `verify` verifies it.
//!
//! `v1:<key id>:<due>:<HMAC-SHA256 in hexadecimal>`. `due` is the time before which the row is not sent, in
//! microseconds since 1970, or empty. It is a part of the text because the column `due_at` changes when a
//! row is leased, retried or parked.

mod verify;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::canonical::{Canonical, NotCanonical, canonical};
use super::keys::{Key, Keys};

/// The version of the format, and what the signature is of: a key that is used elsewhere too signs nothing
/// that means a row here.
const VERSION: &str = "v1";
const CONTEXT: &str = "diesel-outbox";

/// The fields of a row that its signature covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    /// The name of the row's table: a row of one table is not valid in another one.
    pub(crate) table: &'static str,
    pub(crate) id: Uuid,
    /// The destination, or the name of a call.
    pub(crate) target: &'a str,
    /// The body, or a call's arguments, as JSON text.
    pub(crate) json: Option<&'a str>,
    /// What is in another encoding: the encoding's name, and the bytes.
    pub(crate) encoded: Option<(&'a str, &'a [u8])>,
    /// The headers as JSON text.
    pub(crate) headers: &'a str,
    pub(crate) stream: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
}

/// Why a row cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsignable {
    /// No text of this JSON can be verified.
    #[error("the {part} cannot be signed: {reason}")]
    Json {
        part: &'static str,
        #[source]
        reason: NotCanonical,
    },
}

/// A signature, and what the database must not do to the signed JSON.
#[derive(Debug)]
pub(crate) struct Signed {
    /// For the column `signature`.
    pub(crate) text: String,
    /// Whether the JSON has a number that MySQL, unlike MariaDB, may change.
    pub(crate) has_long_number: bool,
}

impl Keys {
    /// Signs a row with the first key. `due` is the time before which the row is not sent.
    pub(crate) fn sign(
        &self,
        fields: &Fields<'_>,
        due: Option<DateTime<Utc>>,
    ) -> Result<Signed, Unsignable> {
        let unsignable = |(part, reason)| Unsignable::Json { part, reason };
        let documents = Documents::of(fields).map_err(unsignable)?;
        let key = self.first();
        let due = due.map_or_else(String::new, |due| due.timestamp_micros().to_string());
        let mut mac = mac(key, &due, fields, &documents);
        feed_text(&mut mac, fields.key);
        let digest = mac.finalize().into_bytes();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Signed {
            text: format!("{VERSION}:{}:{due}:{digits}", key.id),
            has_long_number: documents.has_long_number(),
        })
    }
}

/// The JSON of a row in its canonical form.
struct Documents {
    json: Option<Canonical>,
    headers: Canonical,
}

impl Documents {
    fn of(fields: &Fields<'_>) -> Result<Self, (&'static str, NotCanonical)> {
        let json = fields.json.map(canonical).transpose();
        Ok(Self {
            json: json.map_err(|reason| ("body", reason))?,
            headers: canonical(fields.headers).map_err(|reason| ("headers", reason))?,
        })
    }

    fn has_long_number(&self) -> bool {
        let json = self.json.as_ref();
        self.headers.has_long_number || json.is_some_and(|json| json.has_long_number)
    }
}

/// The code of everything but the ordering key. Each field has its length before it, so that no two rows
/// have the same input.
fn mac(key: &Key, due: &str, fields: &Fields<'_>, documents: &Documents) -> Hmac<Sha256> {
    let mut mac = key.mac.clone();
    for text in [CONTEXT, VERSION, fields.table, &key.id, due] {
        feed(&mut mac, Some(text.as_bytes()));
    }
    feed(&mut mac, Some(fields.id.as_bytes()));
    feed(&mut mac, Some(fields.target.as_bytes()));
    let json = documents.json.as_ref();
    feed(&mut mac, json.map(|json| json.bytes.as_slice()));
    feed_text(&mut mac, fields.encoded.map(|(encoding, _)| encoding));
    feed(&mut mac, fields.encoded.map(|(_, bytes)| bytes));
    feed(&mut mac, Some(&documents.headers.bytes));
    feed_text(&mut mac, fields.stream);
    mac
}

fn feed_text(mac: &mut Hmac<Sha256>, text: Option<&str>) {
    feed(mac, text.map(str::as_bytes));
}

/// Adds a field: the length plus 1 as 8 bytes, and the bytes; 0 if there is none.
fn feed(mac: &mut Hmac<Sha256>, field: Option<&[u8]>) {
    let length = field.map_or(0, |bytes| bytes.len() as u64 + 1);
    mac.update(&length.to_be_bytes());
    mac.update(field.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::verify::Invalid;
    use super::*;

    fn keys(text: &str) -> Keys {
        Keys::parse(text).unwrap()
    }

    fn row() -> Fields<'static> {
        Fields {
            table: "published",
            id: Uuid::from_u128(7),
            target: "/queue/a",
            json: Some(r#"{"total": 12, "who": "ann"}"#),
            encoded: None,
            headers: r#"{"dop-msg-id": "7"}"#,
            stream: Some("audit"),
            key: Some("k"),
        }
    }

    #[test]
    fn the_format_does_not_change() {
        let due = DateTime::from_timestamp_micros(1_700_000_000_000_001);
        let keys = keys("2026-11:0123456789abcdef");
        // Made by another implementation: Python's hmac over the fields as docs/signing.md describes them.
        let expected = "v1:2026-11:1700000000000001:\
                        ee60687f9ea4d4da8dc6bf071d5df01a4945d76835254629384dcb30d5be0194";
        assert_eq!(keys.sign(&row(), due).unwrap().text, expected);
        assert_eq!(keys.verify(&row(), Some(expected), false), Ok(due));
    }

    #[test]
    fn each_field_is_covered() {
        let keys = keys("a:0123456789abcdef");
        let row = row();
        let signed = keys.sign(&row, None).unwrap().text;
        assert_eq!(keys.verify(&row, Some(&signed), false), Ok(None));
        let other_text = Fields {
            json: Some("{\"who\":\"ann\", \"total\":1.2e1}"),
            ..row
        };
        assert_eq!(keys.verify(&other_text, Some(&signed), false), Ok(None));
        let changed = [
            Fields {
                table: "outbox_calls",
                ..row
            },
            Fields {
                id: Uuid::from_u128(8),
                ..row
            },
            Fields {
                target: "/queue/b",
                ..row
            },
            Fields {
                target: "/queue/",
                ..row
            },
            Fields {
                json: Some(r#"{"total": 13, "who": "ann"}"#),
                ..row
            },
            Fields { json: None, ..row },
            Fields {
                encoded: Some(("msgpack", b"")),
                ..row
            },
            Fields {
                headers: "{}",
                ..row
            },
            Fields {
                stream: None,
                ..row
            },
            Fields {
                stream: Some(""),
                ..row
            },
            Fields {
                stream: Some("auditk"),
                key: Some(""),
                ..row
            },
            Fields { key: None, ..row },
            Fields {
                key: Some("l"),
                ..row
            },
        ];
        for row in changed {
            let result = keys.verify(&row, Some(&signed), false);
            assert_eq!(result, Err(Invalid::Mismatch), "{row:?}");
        }
        for (from, to) in [("v1:a::", "v1:a:1:"), ("v1:a:", "v1:b:")] {
            let signed = signed.replace(from, to);
            let both = super::tests::keys("a:0123456789abcdef,b:fedcba9876543210");
            let result = both.verify(&row, Some(&signed), false);
            assert_eq!(result, Err(Invalid::Mismatch), "{signed}");
        }
    }

    #[test]
    fn only_a_key_that_a_rule_gave_may_be_missing_in_the_signature() {
        let keys = keys("a:0123456789abcdef");
        let signed = keys
            .sign(&Fields { key: None, ..row() }, None)
            .unwrap()
            .text;
        assert_eq!(
            keys.verify(&row(), Some(&signed), false),
            Err(Invalid::Mismatch)
        );
        assert_eq!(keys.verify(&row(), Some(&signed), true), Ok(None));
        let own = keys.sign(&row(), None).unwrap().text;
        assert_eq!(keys.verify(&row(), Some(&own), true), Ok(None));
    }

    #[test]
    fn a_key_is_replaced_by_putting_another_one_before_it() {
        let (old, new) = ("old:0123456789abcdef", "new:fedcba9876543210");
        let by_old = keys(old).sign(&row(), None).unwrap().text;
        let both = keys(&format!("{new},{old}"));
        let by_both = both.sign(&row(), None).unwrap().text;
        assert!(by_both.starts_with("v1:new::"));
        for signed in [&by_old, &by_both] {
            assert_eq!(both.verify(&row(), Some(signed), false), Ok(None));
        }
        let result = keys(new).verify(&row(), Some(&by_old), false);
        assert_eq!(result, Err(Invalid::UnknownKey("old".to_owned())));
        // Another secret with the same id.
        let result = keys("old:0123456789abcdeX").verify(&row(), Some(&by_old), false);
        assert_eq!(result, Err(Invalid::Mismatch));
    }

    #[test]
    fn whatever_is_in_the_column_is_no_panic() {
        let keys = keys("a:0123456789abcdef");
        let digits = "0".repeat(64);
        for (text, expected) in [
            (None, Invalid::Unsigned),
            (Some(String::new()), Invalid::Form),
            (Some(format!("v2:a::{digits}")), Invalid::Form),
            (Some(format!("v1:a:{digits}")), Invalid::Form),
            (Some(format!("v1:a:::{digits}")), Invalid::Form),
            (Some(format!("v1:a:x:{digits}")), Invalid::Form),
            (Some(format!("v1:a:{}:{digits}", i64::MAX)), Invalid::Form),
            (Some(format!("v1:a::{}", &digits[1..])), Invalid::Form),
            (Some(format!("v1:a::{}", "é".repeat(32))), Invalid::Form),
            (Some(format!("v1:a::{}é", &digits[2..])), Invalid::Form),
            (Some(format!("v1:a::{digits}")), Invalid::Mismatch),
            (
                Some(format!("v1:b\u{1b}::{digits}")),
                Invalid::UnknownKey("b\\u{1b}".to_owned()),
            ),
        ] {
            let result = keys.verify(&row(), text.as_deref(), false);
            assert_eq!(result, Err(expected), "{text:?}");
        }
        let twice = Fields {
            json: Some(r#"{"a": 1, "a": 1}"#),
            ..row()
        };
        let signed = keys.sign(&row(), None).unwrap().text;
        let error = keys.verify(&twice, Some(&signed), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the body cannot have been signed: an object has a name twice"
        );
        assert!(keys.sign(&twice, None).is_err());
    }
}
