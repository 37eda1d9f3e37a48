//! A message before it is a row of the outbox.

#[cfg(feature = "stomp")]
pub(crate) mod dead_letter_headers;
#[cfg(feature = "stomp")]
pub(crate) mod send_frame;

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::backend::{AsBackend, Backend, NewPublished};
use crate::column_widths::{self as width, Misfit};
use crate::error::{Error, MessageError};
use crate::headers::{self, Headers, Outgoing};
use crate::json;
use crate::moment::Moment;
use crate::pending_row::{PendingRow, insert};
use crate::signing::Keys;
use crate::traces;

/// A message for the outbox.
///
/// An invalid message is an error when it is published; nothing is written then.
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
    id: Option<Uuid>,
    destination: String,
    version: Option<String>,
    body: Result<Value, MessageError>,
    headers: Headers,
    stream: Option<String>,
    key: Option<String>,
    expires: Option<Moment>,
    due: Option<Moment>,
}

/// A valid message with all its headers.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) id: Uuid,
    /// Whether the caller set the id, so that a row may have it already.
    has_own_id: bool,
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
    /// Creates a message with `body` for `destination`, such as `/topic/orders` or `/queue/mail`.
    ///
    /// The destination has at most 255 characters, version included. A NaN or an infinity in the body
    /// becomes `null`, as in `serde_json`. On RabbitMQ, send to `/amq/queue/mail` if `subscribe` consumes
    /// `/queue/mail`; `docs/brokers.md` has a table of destinations and queues.
    pub fn new(destination: impl Into<String>, body: impl Serialize) -> Self {
        Self {
            id: None,
            destination: destination.into(),
            version: None,
            body: json::to_value(body).map_err(MessageError::Body),
            headers: Headers::new(),
            stream: None,
            key: None,
            expires: None,
            due: None,
        }
    }

    /// Sets the id; the default is a new UUIDv7.
    ///
    /// With an id that is derived from the work (a UUIDv5 of an order's number, the key of a request), a
    /// write that is retried does not become a second message: [`publish`](Self::publish) returns
    /// [`Error::IdTaken`] for the second one, and [`publish_if_new`](Self::publish_if_new) writes nothing and
    /// returns false. The rest of the message is not compared.
    ///
    /// This holds as long as the row is in the outbox: sent rows are deleted after `days_to_keep`. The id is
    /// also the header `dop-msg-id`, by which the receiver's inbox recognises duplicates for as long as its
    /// `inbox_days_to_keep`.
    ///
    /// ```
    /// use diesel_outbox::Message;
    /// use uuid::Uuid;
    ///
    /// let request = Uuid::from_u128(7);
    /// let message = Message::new("/topic/orders", 7).id(request);
    /// ```
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Appends `.version` to the destination and fills the column `version`. The version has at most 100
    /// characters.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.destination = format!("{}.{version}", self.destination);
        self.version = Some(version);
        self
    }

    /// Sets a header.
    ///
    /// The generated headers of django-outbox-pattern (`dop-…`) override one of the same name. Headers that
    /// belong to the frame ([`headers::RESERVED`]) are an error when the message is published.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets several headers like [`header`](Self::header).
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

    /// Sets the ordering key: messages with the same key reach the broker in the order in which they were
    /// written. It has at most 255 characters; `None` means no ordering.
    pub fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets the stream, a named part of the outbox that can be sent or paused on its own. It has at most 100
    /// characters.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Sets the moment before which the message is not sent. Until then it blocks the later messages of its
    /// ordering key.
    ///
    /// Moments before 1970 count as 1970, and moments after the year 9000 as 9000.
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.due = Some(Moment::At(moment));
        self
    }

    /// Sets the time after publishing, by the database's clock, before which the message is not sent. Until
    /// then it blocks the later messages of its ordering key. Publishing then queries the database's time.
    pub fn delay(mut self, time: Duration) -> Self {
        self.due = Some(Moment::In(time));
        self
    }

    /// Sets the moment after which the message is no longer sent, but parked with the reason `expired`.
    pub fn expires_at(mut self, moment: DateTime<Utc>) -> Self {
        self.expires = Some(Moment::At(moment));
        self
    }

    /// Sets the time after publishing, by the database's clock, after which the message is no longer sent,
    /// but parked with the reason `expired`. Publishing then queries the database's time.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires = Some(Moment::In(lifetime));
        self
    }

    /// Returns the destination, version included.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Returns the body; `None` if it cannot be turned into JSON.
    #[must_use]
    pub fn body(&self) -> Option<&Value> {
        self.body.as_ref().ok()
    }

    /// Returns the ordering key.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Writes the message to the outbox, in the caller's transaction if one is open. Returns its id.
    ///
    /// # Errors
    ///
    /// If the message is invalid, the outbox has a row with its [`id`](Self::id) already
    /// ([`Error::IdTaken`]), or the database fails; nothing is written then. After [`Error::IdTaken`] the
    /// caller's transaction continues.
    pub fn publish<C: AsBackend>(self, conn: &mut C) -> Result<Uuid, Error> {
        let message = self.ready()?;
        let id = message.id;
        insert(conn.as_backend(), vec![message])?;
        Ok(id)
    }

    /// Writes the message to the outbox. Returns false, and writes nothing, if the outbox has a row with its
    /// [`id`](Self::id) already.
    ///
    /// The caller's transaction continues then. If another transaction is writing the same id, this call
    /// waits until that one ends.
    ///
    /// # Errors
    ///
    /// If the message is invalid or the database fails; nothing is written then.
    pub fn publish_if_new<C: AsBackend>(self, conn: &mut C) -> Result<bool, Error> {
        match self.publish(conn) {
            Ok(_) => Ok(true),
            Err(Error::IdTaken(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The header that the caller has set.
    pub(crate) fn own_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The same message with another destination and body.
    pub(crate) fn with(self, destination: String, body: Result<Value, MessageError>) -> Self {
        Self {
            destination,
            body,
            ..self
        }
    }

    /// Checks the message and completes its headers.
    pub(crate) fn ready(self) -> Result<Ready, MessageError> {
        if self.destination.trim().is_empty() {
            return Err(MessageError::EmptyDestination);
        }
        check("destination", Some(&self.destination), width::DESTINATION)?;
        check("version", self.version.as_deref(), width::VERSION)?;
        check("key", self.key.as_deref(), width::KEY)?;
        check("stream", self.stream.as_deref(), width::STREAM)?;
        let body = self.body?;
        let id = self.id.unwrap_or_else(Uuid::now_v7);
        let mut headers = self.headers;
        let _span = traces::propagate(&mut headers, || traces::create(&self.destination, id));
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
            has_own_id: self.id.is_some(),
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

impl PendingRow for Ready {
    type Row = NewPublished;

    fn id(&self) -> Uuid {
        self.id
    }

    fn has_own_id(&self) -> bool {
        self.has_own_id
    }

    fn counts_from_the_present(&self) -> bool {
        Moment::any_is_relative([self.expires, self.due])
    }

    fn into_row(self, refuses_nul: bool, now: DateTime<Utc>) -> Result<NewPublished, Error> {
        if refuses_nul && json::holds_nul(&self.body) {
            return Err(Error::Message(MessageError::Nul {
                what: "the body".to_owned(),
            }));
        }
        Ok(NewPublished::new(
            self.id,
            self.version,
            self.destination,
            self.body,
            self.headers,
            self.expires.map(|moment| moment.from(now)),
            self.stream,
            self.key,
            self.due.map(|moment| moment.from(now)),
        ))
    }

    fn sign(
        row: NewPublished,
        keys: &Keys,
        has_long_number: &mut bool,
    ) -> Result<NewPublished, Error> {
        row.sign(keys, has_long_number)
    }

    fn insert<C: Backend>(conn: &mut C, rows: &[NewPublished]) -> QueryResult<()> {
        conn.insert_published(rows)
    }

    fn insert_if_new<C: Backend>(conn: &mut C, row: &NewPublished) -> QueryResult<bool> {
        conn.insert_if_new(row)
    }
}

fn check(what: &'static str, text: Option<&str>, limit: usize) -> Result<(), MessageError> {
    width::check(text, limit).map_err(|misfit| match misfit {
        Misfit::TooLong(length) => MessageError::TooLong {
            what,
            length,
            limit,
        },
        Misfit::Nul => MessageError::Nul {
            what: format!("the {what}"),
        },
    })
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
            let error = message.ready().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_time_counts_from_the_databases_present() {
        let now = Utc::now();
        let minute = Duration::from_secs(60);
        let ready = |message: Message| message.ready().unwrap().counts_from_the_present();
        let message = || Message::new("/queue/a", 1);
        assert!(ready(message().delay(minute)) && ready(message().expires_in(minute)));
        assert!(!ready(message()) && !ready(message().due_at(now).expires_at(now)));
    }

    #[test]
    fn what_json_has_no_number_for_becomes_null() {
        let body = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let ready = Message::new("/queue/a", body).ready().unwrap();
        assert_eq!(ready.body, json!([1.5, null, null, null]));
    }
}
