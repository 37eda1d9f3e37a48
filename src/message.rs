//! A message on its way into the outbox.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::backend::{AsBackend, Backend, NewPublished, never};
use crate::error::{Error, MessageError};
use crate::headers::{self, Headers, Outgoing};

const DESTINATION_LIMIT: usize = 255;
const VERSION_LIMIT: usize = 100;
const STREAM_LIMIT: usize = 100;
const KEY_LIMIT: usize = 255;

/// A message for the outbox.
///
/// What is wrong with it is told when it is published; nothing is written then.
///
/// ```
/// use diesel_outbox::Message;
/// use serde_json::json;
///
/// let message = Message::new("/queue/mail", json!({"some": "data"}))
///     .version("v1")
///     .header("x", "y");
/// assert_eq!(message.destination(), "/queue/mail.v1");
/// ```
#[derive(Debug)]
#[must_use = "a message does nothing until it is published"]
pub struct Message {
    destination: String,
    version: Option<String>,
    body: Result<Value, MessageError>,
    headers: Headers,
    stream: Option<String>,
    key: Option<String>,
    expires: Option<Moment>,
    due: Option<Moment>,
}

/// A moment: as it is, or as a time from the present of the database, whose clock decides when it
/// has come. The writer's may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    At(DateTime<Utc>),
    In(Duration),
}

impl Moment {
    /// The moment, where `now` is the present of the database.
    fn from(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::In(time) => TimeDelta::from_std(time)
                .ok()
                .and_then(|time| now.checked_add_signed(time))
                .map_or_else(never, |moment| moment.min(never())),
        }
    }
}

/// A message that was found valid, with all its headers.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) id: Uuid,
    pub(crate) destination: String,
    pub(crate) body: Value,
    pub(crate) headers: Headers,
    version: Option<String>,
    stream: Option<String>,
    pub(crate) key: Option<String>,
    expires: Option<Moment>,
    due: Option<Moment>,
}

impl Message {
    /// A message with `body` for `destination`, such as `/topic/orders` or `/queue/mail`; at most
    /// 255 characters, version included.
    pub fn new(destination: impl Into<String>, body: impl Serialize) -> Self {
        Self {
            destination: destination.into(),
            version: None,
            body: serde_json::to_value(body).map_err(MessageError::Body),
            headers: Headers::new(),
            stream: None,
            key: None,
            expires: None,
            due: None,
        }
    }

    /// Appends `.version` to the destination and fills the column `version`; at most 100
    /// characters.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.destination = format!("{}.{version}", self.destination);
        self.version = Some(version);
        self
    }

    /// Sets a header. Those of django-outbox-pattern are generated and override it; those that
    /// belong to the frame ([`headers::RESERVED`]) are refused.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets several headers, as [`header`](Self::header) sets one.
    pub fn headers<N, V>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let headers = headers.into_iter();
        self.headers
            .extend(headers.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets the ordering key, at most 255 characters; `None` promises no order.
    pub fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets the stream, at most 100 characters.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// The message is not sent before this moment. It holds up the later messages of its key until
    /// then.
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.due = Some(Moment::At(moment.clamp(DateTime::UNIX_EPOCH, never())));
        self
    }

    /// The message is not sent before this time has passed since it was published, by the
    /// database's clock; see [`due_at`](Self::due_at). Asks the database for its time.
    pub fn delay(mut self, time: Duration) -> Self {
        self.due = Some(Moment::In(time));
        self
    }

    /// Past this moment the message is not sent but parked with the reason `expired`.
    pub fn expires_at(mut self, moment: DateTime<Utc>) -> Self {
        self.expires = Some(Moment::At(moment));
        self
    }

    /// Once this time has passed since it was published, by the database's clock, the message is
    /// not sent but parked with the reason `expired`. Asks the database for its time.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires = Some(Moment::In(lifetime));
        self
    }

    /// Where the message goes, version included.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// The body, where it could be turned into JSON.
    #[must_use]
    pub fn body(&self) -> Option<&Value> {
        self.body.as_ref().ok()
    }

    /// The ordering key.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Writes the message to the outbox, in the caller's transaction where one is open, and
    /// returns its id.
    ///
    /// # Errors
    ///
    /// When the message is invalid or the database refuses; nothing is written then.
    pub fn publish<C: AsBackend>(self, conn: &mut C) -> Result<Uuid, Error> {
        let message = self.ready()?;
        let id = message.id;
        insert(conn.as_backend(), vec![message])?;
        Ok(id)
    }

    /// Checks the message and completes its headers.
    pub(crate) fn ready(self) -> Result<Ready, MessageError> {
        if self.destination.trim().is_empty() {
            return Err(MessageError::EmptyDestination);
        }
        check("destination", Some(&self.destination), DESTINATION_LIMIT)?;
        check("version", self.version.as_deref(), VERSION_LIMIT)?;
        check("key", self.key.as_deref(), KEY_LIMIT)?;
        check("stream", self.stream.as_deref(), STREAM_LIMIT)?;
        let body = self.body?;
        let id = Uuid::now_v7();
        let mut headers = self.headers;
        headers::hand_on_trace(&mut headers);
        headers.extend(headers::generate(&Outgoing {
            id,
            destination: &self.destination,
        }));
        for (name, value) in &headers {
            if name.is_empty() {
                return Err(MessageError::EmptyHeaderName);
            }
            if headers::is_reserved(name) {
                return Err(MessageError::ReservedHeader { name: name.clone() });
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(MessageError::Nul {
                    what: format!("the header `{}`", name.escape_default()),
                });
            }
        }
        Ok(Ready {
            id,
            destination: self.destination,
            body,
            headers,
            version: self.version,
            stream: self.stream,
            key: self.key,
            expires: self.expires,
            due: self.due,
        })
    }
}

/// Writes messages to the outbox. Asks for the database's time if one of them has a time that
/// counts from the present.
pub(crate) fn insert<C: Backend>(conn: &mut C, messages: Vec<Ready>) -> Result<(), Error> {
    let refuses_nul = conn.refuses_nul();
    // The writer's own time is in none of the rows otherwise.
    let mut now = DateTime::UNIX_EPOCH;
    if messages.iter().any(Ready::counts_from_the_present) {
        now = conn.present()?;
    }
    let rows: Result<Vec<_>, _> = messages
        .into_iter()
        .map(|message| message.into_row(refuses_nul, now))
        .collect();
    Ok(conn.insert_published(&rows?)?)
}

impl Ready {
    fn counts_from_the_present(&self) -> bool {
        let moments = [self.expires, self.due];
        moments
            .iter()
            .flatten()
            .any(|it| matches!(it, Moment::In(_)))
    }

    /// The row of `published`, where `now` is the present of the database. `refuses_nul` says that
    /// the database's JSON cannot hold U+0000.
    fn into_row(self, refuses_nul: bool, now: DateTime<Utc>) -> Result<NewPublished, MessageError> {
        if refuses_nul && holds_nul(&self.body) {
            return Err(MessageError::Nul {
                what: "the body".to_owned(),
            });
        }
        let headers = self
            .headers
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        Ok(NewPublished::new(
            self.id,
            self.version,
            self.destination,
            self.body,
            Value::Object(headers),
            self.expires.map(|moment| moment.from(now)),
            self.stream,
            self.key,
            self.due.map(|moment| moment.from(now)),
        ))
    }
}

/// Whether any text or name in the document holds U+0000, which jsonb cannot store.
pub(crate) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn check(what: &'static str, text: Option<&str>, limit: usize) -> Result<(), MessageError> {
    let Some(text) = text else { return Ok(()) };
    let length = text.chars().count();
    if length > limit {
        return Err(MessageError::TooLong {
            what,
            length,
            limit,
        });
    }
    if text.contains('\0') {
        return Err(MessageError::Nul {
            what: format!("the {what}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_generated_headers_override_the_writers_own() {
        let ready = Message::new("/queue/a", json!({}))
            .header("dop-msg-type", "Mine")
            .header("x", "y")
            .ready()
            .unwrap();
        assert_eq!(ready.headers["dop-msg-type"], "Published");
        assert_eq!(ready.headers["dop-msg-id"], ready.id.to_string());
        assert_eq!(ready.headers["dop-msg-destination"], "/queue/a");
        assert_eq!(ready.headers["x"], "y");
        assert_eq!(ready.id.get_version_num(), 7);
    }

    #[test]
    fn a_scope_gives_the_correlation_id() {
        let ready = crate::correlation::scope("chain-1", || {
            Message::new("/queue/a", json!({})).ready().unwrap()
        });
        assert_eq!(ready.headers["dop-correlation-id"], "chain-1");
    }

    #[test]
    fn each_mistake_names_itself() {
        let long = "x".repeat(254);
        let cases: [(Message, &str); 7] = [
            (Message::new(" ", 1), "the destination is empty"),
            (
                Message::new(&long, 1).version("v1"),
                "the destination has 257 characters",
            ),
            (
                Message::new("/queue/a", 1).key("k".repeat(256)),
                "the key has 256 characters",
            ),
            (
                Message::new("/queue/a", 1).header("x", "a\0b"),
                "the header `x` holds",
            ),
            (Message::new("/queue/a", 1).header("", "b"), "empty name"),
            (
                Message::new("/queue/a", 1).header("Message-Id", "b"),
                "`Message-Id`",
            ),
            (
                Message::new("/queue/a", HashMap::from([((1, 2), 3)])),
                "the body could not be serialised",
            ),
        ];
        for (message, expected) in cases {
            let told = message.ready().unwrap_err().to_string();
            assert!(told.contains(expected), "{told:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_time_counts_from_the_databases_present() {
        // Its clock and the writer's are years apart.
        let now: DateTime<Utc> = "2001-01-01T00:00:00Z".parse().unwrap();
        let minute = Duration::from_secs(60);
        let at = |moment: Moment| moment.from(now);
        assert_eq!(at(Moment::In(minute)), now + minute);
        assert_eq!(at(Moment::In(Duration::ZERO)), now);
        assert_eq!(at(Moment::In(Duration::MAX)), never());
        assert_eq!(at(Moment::At(now - minute)), now - minute);
        let ready = |message: Message| message.ready().unwrap().counts_from_the_present();
        let message = || Message::new("/queue/a", 1);
        assert!(ready(message().delay(minute)) && ready(message().expires_in(minute)));
        assert!(!ready(message()) && !ready(message().due_at(now).expires_at(now)));
    }

    #[test]
    fn a_nul_is_found_at_any_depth() {
        assert!(holds_nul(&json!({"a": [{"b": "x\0"}]})));
        assert!(holds_nul(&json!({"a\0": 1})));
        assert!(!holds_nul(&json!({"a": [{"b": "\\u0000"}]})));
    }
}
