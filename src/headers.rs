//! The headers that every message carries, as django-outbox-pattern writes them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use uuid::Uuid;

use crate::correlation;

/// The message's id: the id of its row.
pub const MSG_ID: &str = "dop-msg-id";
/// Where the message was sent.
pub const MSG_DESTINATION: &str = "dop-msg-destination";
/// The kind of row that the message was written as: `Published`.
pub const MSG_TYPE: &str = "dop-msg-type";
/// When the message was written, RFC 3339.
pub const MSG_SENT_TIME: &str = "dop-msg-sent-time";
/// The id that a chain of messages has in common.
pub const CORRELATION_ID: &str = "dop-correlation-id";

/// The ordering key, where there is one; it is written when the message is sent.
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

/// What a generator is told of the message.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The id of the message's row.
    pub id: Uuid,
    /// Where it goes, version included.
    pub destination: &'a str,
}

/// Headers by name.
pub type Headers = BTreeMap<String, String>;

type Generator = Box<dyn Fn(&Outgoing<'_>) -> Headers + Send + Sync>;

static GENERATOR: OnceLock<Generator> = OnceLock::new();

/// A generator was set before; it stays.
#[derive(Debug, thiserror::Error)]
#[error("a header generator is set already; set it once, when the process starts")]
pub struct GeneratorIsSet;

/// Replaces the generator for the whole process. What it returns overrides the message's own
/// headers; call [`standard`] in it to add to the usual ones.
///
/// Leave `dop-msg-id` in: the inbox of the other side tells duplicates by it.
///
/// # Errors
///
/// When one was set before.
pub fn set_generator(
    generator: impl Fn(&Outgoing<'_>) -> Headers + Send + Sync + 'static,
) -> Result<(), GeneratorIsSet> {
    GENERATOR
        .set(Box::new(generator))
        .map_err(|_| GeneratorIsSet)
}

/// The headers of django-outbox-pattern. The correlation id is that of the open scope, else new.
#[must_use]
pub fn standard(message: &Outgoing<'_>) -> Headers {
    let correlation = correlation::current().unwrap_or_else(|| Uuid::new_v4().to_string());
    let sent = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    [
        (MSG_ID, message.id.to_string()),
        (MSG_DESTINATION, message.destination.to_owned()),
        (MSG_TYPE, "Published".to_owned()),
        (MSG_SENT_TIME, sent),
        (CORRELATION_ID, correlation),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What the process's generator gives for a message.
pub(crate) fn generate(message: &Outgoing<'_>) -> Headers {
    match GENERATOR.get() {
        Some(generator) => generator(message),
        None => standard(message),
    }
}

/// Writes the trace of the open scope, unless the writer named one.
pub(crate) fn hand_on_trace(headers: &mut Headers) {
    let Some(trace) = correlation::current_trace() else {
        return;
    };
    if headers.contains_key(correlation::TRACEPARENT) {
        return;
    }
    let parent = trace.parent().to_owned();
    headers.insert(correlation::TRACEPARENT.to_owned(), parent);
    // One of another trace would tell lies.
    headers.remove(correlation::TRACESTATE);
    if let Some(state) = trace.state() {
        headers.insert(correlation::TRACESTATE.to_owned(), state.to_owned());
    }
}
