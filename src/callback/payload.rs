//! A received message, as a callback gets it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::backend::{AsBackend, Inbox, NewReceived, digest};
use crate::broker::Broker;
use crate::callback::celery::TaskMessage;
use crate::correlation::{self, Trace};
use crate::db::is_infrastructure;
use crate::error::Error;
use crate::headers;
use crate::permanent::Permanent;
use crate::stomp::Delivery;

/// The column's length; a longer id is stored as a digest.
const ID_LIMIT: usize = 100;

/// A received message.
#[derive(Debug, Clone)]
pub struct Payload {
    inner: Arc<Inner>,
    /// The attempt of a managed callback.
    attempt: Option<Arc<ManagedAttempt>>,
}

/// What a managed callback has done with its payload in one attempt.
#[derive(Debug, Default)]
struct ManagedAttempt {
    /// The id of the row that it has written.
    saved: Mutex<Option<Uuid>>,
    /// The number of failed attempts before this one.
    before: u32,
    /// Whether rows are written without headers and body.
    is_bare: bool,
    /// Whether the transaction was aborted because the columns cannot hold headers or body.
    was_unfit: AtomicBool,
}

struct Inner {
    msg_id: String,
    id_header: String,
    consumer: String,
    queue: String,
    destination: String,
    headers: BTreeMap<String, String>,
    raw: Bytes,
    /// Parsed at the first use, and not by the thread that receives messages.
    body: OnceLock<Value>,
    is_redelivered: bool,
    correlation_id: String,
    broker: Broker,
    /// Rows of failed attempts that may exist, because the connection was lost before they could be
    /// deleted.
    leftovers: Mutex<Vec<Uuid>>,
}

// Without the body, which may be confidential.
impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("msg_id", &self.msg_id)
            .field("destination", &self.destination)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The body as the caller's type, for [`Registry::on_json`](crate::Registry::on_json).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A message without regard to its body.
pub type Meta = Payload;

/// The proof that a managed callback has called [`Payload::save`] or [`Payload::nack`]: it must return one,
/// so that forgetting both does not compile.
#[derive(Debug)]
#[must_use = "a managed callback returns it"]
pub struct Proof {
    /// The only attempt that it is valid for.
    attempt: Option<Arc<ManagedAttempt>>,
    pub(crate) was_saved: bool,
}

/// The message had its effect before. A managed callback returns this error, and the message is acknowledged
/// without a second effect.
#[derive(Debug, thiserror::Error)]
#[error("the message {msg_id} was received before")]
pub struct Duplicate {
    /// The message's id.
    pub msg_id: String,
}

impl Payload {
    /// `id_headers` are the headers that may carry the message's id; the first present one counts.
    pub(crate) fn new(
        delivery: &Delivery,
        id_headers: &[String],
        consumer: &str,
        queue: &str,
        broker: Broker,
    ) -> Self {
        let mut headers = BTreeMap::new();
        for (name, value) in delivery.headers.iter() {
            // STOMP 1.2, "Repeated Header Entries": the first one counts.
            headers
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        }
        let (id_header, id) = id_headers
            .iter()
            .find_map(|name| Some((name.clone(), headers.get(name).filter(|id| !id.is_empty())?)))
            .unwrap_or_else(|| ("message-id".to_owned(), &delivery.message_id));
        let msg_id = stored_id(id);
        let correlation_id = headers
            .get(headers::CORRELATION_ID)
            .filter(|id| !id.is_empty())
            .cloned()
            .unwrap_or_else(|| Uuid::new_v4().to_string());
        Self {
            inner: Arc::new(Inner {
                msg_id,
                id_header,
                consumer: consumer.to_owned(),
                queue: queue.to_owned(),
                destination: delivery.destination.clone(),
                is_redelivered: delivery.is_redelivered(),
                headers,
                raw: delivery.body.clone(),
                body: OnceLock::new(),
                correlation_id,
                broker,
                leftovers: Mutex::default(),
            }),
            attempt: None,
        }
    }

    /// The message's id, by which duplicates are recognised. An id of over 100 characters is `sha256:` and
    /// its digest.
    #[must_use]
    pub fn msg_id(&self) -> &str {
        &self.inner.msg_id
    }

    /// The destination that the message was sent to.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.inner.destination
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.inner.headers
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers.get(name).map(String::as_str)
    }

    /// The body as JSON. A body that is not JSON is a text, with U+FFFD for bytes that are not UTF-8.
    #[must_use]
    pub fn body(&self) -> &Value {
        self.inner.body.get_or_init(|| {
            let raw = &self.inner.raw;
            let text = || Value::String(String::from_utf8_lossy(raw).into_owned());
            serde_json::from_slice(raw).unwrap_or_else(|_| text())
        })
    }

    /// The body's bytes as received.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.inner.raw
    }

    /// The body as a type of the caller's.
    ///
    /// # Errors
    ///
    /// [`Permanent`], with serde's message, when the body is not JSON of that shape: another attempt
    /// would read the same.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Permanent> {
        serde_json::from_slice(&self.inner.raw).map_err(Permanent::new)
    }

    /// The arguments of a Celery task as a type of the caller's, for callbacks other than those of
    /// [`Registry::on_celery`](crate::Registry::on_celery). The task's name is the header `task`, and the
    /// setting `msg_id_headers` has to contain `id`.
    ///
    /// # Errors
    ///
    /// [`Permanent`], with a [`CeleryError`](crate::CeleryError), if the message is not a task that can run
    /// now.
    pub fn celery<T: DeserializeOwned>(&self) -> Result<T, Permanent> {
        TaskMessage::read(self)
            .and_then(|task| task.arguments_at(Utc::now()))
            .map_err(Permanent::new)
    }

    /// Whether the broker says that this is a redelivery.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.inner.is_redelivered
    }

    /// The correlation id of the message, or a new one if it has none.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.inner.correlation_id
    }

    /// The trace of the message, from its headers `traceparent` and `tracestate`.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        let parent = self.header(correlation::TRACEPARENT)?;
        Trace::new(parent, self.header(correlation::TRACESTATE))
    }

    /// The header that the id was taken from.
    pub(crate) fn id_header(&self) -> &str {
        &self.inner.id_header
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.inner.consumer
    }

    /// The queue that it came from.
    pub(crate) fn queue(&self) -> &str {
        &self.inner.queue
    }

    /// The broker that it came from.
    pub(crate) fn broker(&self) -> Broker {
        self.inner.broker
    }

    /// The inbox row of the message.
    pub(crate) fn new_received(&self, attempts_before: u32) -> NewReceived {
        let headers = self
            .inner
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        NewReceived::new(
            self.inner.msg_id.clone(),
            self.inner.consumer.clone(),
            Value::Object(headers),
            Some(self.body().clone()),
            i32::try_from(attempts_before).unwrap_or(i32::MAX),
        )
    }

    /// The same message for one attempt of a managed callback, after `before` failed ones.
    pub(crate) fn for_attempt(&self, before: u32, is_bare: bool) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            attempt: Some(Arc::new(ManagedAttempt {
                before,
                is_bare,
                ..ManagedAttempt::default()
            })),
        }
    }

    /// Whether the proof is of this attempt at this message.
    pub(crate) fn is_proven_by(&self, proof: &Proof) -> bool {
        matches!((&self.attempt, &proof.attempt), (Some(own), Some(other)) if Arc::ptr_eq(own, other))
    }

    /// Takes the id of the row that this attempt saved last.
    pub(crate) fn take_saved(&self) -> Option<Uuid> {
        self.attempt
            .as_ref()
            .and_then(|it| locked(&it.saved).take())
    }

    /// Whether this attempt failed because the columns cannot hold headers or body.
    pub(crate) fn was_unfit(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|it| it.was_unfit.load(Ordering::SeqCst))
    }

    /// Rows of earlier attempts that have to be deleted.
    pub(crate) fn leftovers(&self) -> MutexGuard<'_, Vec<Uuid>> {
        locked(&self.inner.leftovers)
    }

    /// For managed callbacks: inserts the inbox row, in the transaction that the callback has opened on
    /// `conn`. Make it the first statement of that transaction. Headers or a body that the columns cannot
    /// hold are stored as NULL; PostgreSQL aborts the transaction in that case, and the callback is called
    /// once more.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] if the message had its effect before: return it with `?`. Other errors are the
    /// database's.
    pub fn save<C: AsBackend>(&self, conn: &mut C) -> Result<Proof, Error> {
        let conn = conn.as_backend();
        let attempt = self.attempt.as_deref();
        let before = attempt.map_or(0, |it| it.before);
        let mut row = self.new_received(before).fitted(conn);
        if attempt.is_some_and(|it| it.is_bare) {
            row = row.bare();
        }
        let inserted = match conn.insert_received(&row) {
            Err(error) if is_unique_violation(&error) || is_infrastructure(&error) => Err(error),
            Err(error) => match conn.insert_received(&row.bare()) {
                Err(second) if !is_unique_violation(&second) => {
                    if let Some(attempt) = attempt {
                        attempt.was_unfit.store(true, Ordering::SeqCst);
                    }
                    Err(error)
                }
                other => other,
            },
            Ok(()) => Ok(()),
        };
        match inserted {
            Ok(()) => {
                if let Some(attempt) = attempt {
                    locked(&attempt.saved).replace(row.id());
                }
                Ok(self.proof(true))
            }
            Err(error) if is_unique_violation(&error) => Err(Error::Duplicate(Duplicate {
                msg_id: self.inner.msg_id.clone(),
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// For managed callbacks: discards the message. It goes to the dead letters and leaves no inbox row.
    pub fn nack(&self) -> Proof {
        self.proof(false)
    }

    fn proof(&self, was_saved: bool) -> Proof {
        Proof {
            attempt: self.attempt.clone(),
            was_saved,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn is_unique_violation(error: &diesel::result::Error) -> bool {
    matches!(
        error,
        diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, _)
    )
}

/// The id as the column holds it.
fn stored_id(id: &str) -> String {
    if id.chars().count() <= ID_LIMIT && !id.contains('\0') {
        return id.to_owned();
    }
    digest(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_id_becomes_a_digest() {
        assert_eq!(stored_id("short"), "short");
        assert_eq!(stored_id(&"é".repeat(100)), "é".repeat(100));
        let long = stored_id(&"x".repeat(101));
        assert_eq!(long.len(), 71);
        assert_ne!(long, stored_id(&"x".repeat(102)));
        assert_eq!(
            stored_id("\0"),
            "sha256:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }
}
