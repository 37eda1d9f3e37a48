//! The headers that every message carries, as django-outbox-pattern writes them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use uuid::Uuid;

use crate::correlation;

/// The message's id: the id of its row.
pub const MSG_ID: &str = "dop-msg-id";
/// The destination that the message is sent to.
pub const MSG_DESTINATION: &str = "dop-msg-destination";
/// The kind of row that the message was written as: `Published`.
pub const MSG_TYPE: &str = "dop-msg-type";
/// When the message was written, RFC 3339.
pub const MSG_SENT_TIME: &str = "dop-msg-sent-time";
/// The id that all messages of a chain share.
pub const CORRELATION_ID: &str = "dop-correlation-id";

/// The ordering key, if there is one. The relay adds it when it sends the message.
pub const KEY: &str = "key";

/// Headers that belong to the frame and that a message may not set. RabbitMQ answers ERROR to a
/// SEND with `message-id`.
pub const RESERVED: [&str; 8] = [
    "destination",
    "content-length",
    "receipt",
    "receipt-id",
    "transaction",
    "message-id",
    "subscription",
    "ack",
];

/// Whether a header belongs to the frame.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// The message for which headers are generated.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The id of the message's row.
    pub id: Uuid,
    /// The destination, version included.
    pub destination: &'a str,
}

/// Headers by name.
pub type Headers = BTreeMap<String, String>;

type Generator = Box<dyn Fn(&Outgoing<'_>) -> Headers + Send + Sync>;

static GENERATOR: OnceLock<Generator> = OnceLock::new();

/// A generator is already set and is kept.
#[derive(Debug, thiserror::Error)]
#[error("a header generator is set already; set it once, when the process starts")]
pub struct GeneratorIsSet;

/// Replaces the generator for the whole process. Its result overrides the message's own
/// headers; call [`standard`] in it to add to the default headers.
///
/// Keep `dop-msg-id`: the receiver's inbox recognises duplicates by it.
///
/// # Errors
///
/// [`GeneratorIsSet`] if a generator is already set.
pub fn set_generator(
    generator: impl Fn(&Outgoing<'_>) -> Headers + Send + Sync + 'static,
) -> Result<(), GeneratorIsSet> {
    GENERATOR
        .set(Box::new(generator))
        .map_err(|_| GeneratorIsSet)
}

/// The headers of django-outbox-pattern. The correlation id is that of the open scope, or a new one.
#[must_use]
pub fn standard(message: &Outgoing<'_>) -> Headers {
    let sent = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    [
        (MSG_ID, message.id.to_string()),
        (MSG_DESTINATION, message.destination.to_owned()),
        (MSG_TYPE, "Published".to_owned()),
        (MSG_SENT_TIME, sent),
        (CORRELATION_ID, correlation_id()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The correlation id of the open scope, or a new one.
pub(crate) fn correlation_id() -> String {
    correlation::current().unwrap_or_else(|| Uuid::new_v4().to_string())
}

/// The headers as a JSON text.
pub(crate) fn to_text(headers: &Headers) -> String {
    serde_json::json!(headers).to_string()
}

/// The generated headers of a message.
pub(crate) fn generate(message: &Outgoing<'_>) -> Headers {
    match GENERATOR.get() {
        Some(generator) => generator(message),
        None => standard(message),
    }
}
