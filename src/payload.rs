//! A message that was received, as a callback sees it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::backend::{Arrival, AsBackend, Inbox, digest};
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
    /// Of a managed callback.
    attempt: Option<Arc<ManagedAttempt>>,
}

/// What a managed callback has done with its payload in one attempt.
#[derive(Debug, Default)]
struct ManagedAttempt {
    /// The id of the row that it has written.
    saved: Mutex<Option<Uuid>>,
    /// Whether rows are written without headers and body.
    is_bare: bool,
    /// The columns could not hold headers and body, and the transaction is lost for it.
    was_unfit: AtomicBool,
}

struct Inner {
    msg_id: String,
    id_header: String,
    consumer: String,
    destination: String,
    headers: BTreeMap<String, String>,
    raw: Bytes,
    /// Parsed by whoever asks first, and not where messages are taken.
    body: OnceLock<Value>,
    is_redelivered: bool,
    correlation_id: String,
    /// Rows of failed attempts that may be there, because the connection was lost before they could
    /// be deleted.
    strays: Mutex<Vec<Uuid>>,
}

// The body may be a customer's.
impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("msg_id", &self.msg_id)
            .field("destination", &self.destination)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// A body as a type of the caller's, for [`Registry::on_json`](crate::Registry::on_json).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A message beside its body.
pub type Meta = Payload;

/// What only [`Payload::save`] and [`Payload::nack`] give: a managed callback returns it, so that
/// forgetting both does not compile.
#[derive(Debug)]
#[must_use = "a managed callback returns it"]
pub struct Proof {
    /// It holds for this one only.
    attempt: Option<Arc<ManagedAttempt>>,
    pub(crate) was_saved: bool,
}

/// The message had its effect before; a managed callback hands this on, and the message is
/// acknowledged without a second effect.
#[derive(Debug, thiserror::Error)]
#[error("the message {msg_id} was received before")]
pub struct Duplicate {
    /// The message's id.
    pub msg_id: String,
}

impl Payload {
    /// `id_headers` are the headers that may carry the message's id; the first that is there
    /// counts.
    pub(crate) fn new(delivery: &Delivery, id_headers: &[String], consumer: &str) -> Self {
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
                destination: delivery.destination.clone(),
                is_redelivered: delivery.is_redelivered(),
                headers,
                raw: delivery.body.clone(),
                body: OnceLock::new(),
                correlation_id,
                strays: Mutex::default(),
            }),
            attempt: None,
        }
    }

    /// The message's id, which tells duplicates; one of over 100 characters as `sha256:` and its
    /// digest.
    #[must_use]
    pub fn msg_id(&self) -> &str {
        &self.inner.msg_id
    }

    /// Where the message was sent.
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

    /// The body as JSON; one that is not JSON as a text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn body(&self) -> &Value {
        self.inner.body.get_or_init(|| {
            let raw = &self.inner.raw;
            let text = || Value::String(String::from_utf8_lossy(raw).into_owned());
            serde_json::from_slice(raw).unwrap_or_else(|_| text())
        })
    }

    /// The body's bytes as they came.
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

    /// Whether the broker says that it has handed the message over before.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.inner.is_redelivered
    }

    /// The correlation id of the message, or a new one where it has none.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.inner.correlation_id
    }

    /// The trace that the message is a part of, by its headers `traceparent` and `tracestate`.
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

    /// The row that remembers the message.
    pub(crate) fn arrival(&self, attempts_before: u32) -> Arrival {
        let headers = self
            .inner
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        Arrival::new(
            self.inner.msg_id.clone(),
            self.inner.consumer.clone(),
            Value::Object(headers),
            Some(self.body().clone()),
            i32::try_from(attempts_before).unwrap_or(i32::MAX),
        )
    }

    /// The same message for one attempt of a managed callback.
    pub(crate) fn for_attempt(&self, is_bare: bool) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            attempt: Some(Arc::new(ManagedAttempt {
                is_bare,
                ..ManagedAttempt::default()
            })),
        }
    }

    /// Whether the proof comes of this attempt at this message.
    pub(crate) fn is_proven_by(&self, proof: &Proof) -> bool {
        matches!((&self.attempt, &proof.attempt), (Some(own), Some(other)) if Arc::ptr_eq(own, other))
    }

    /// The row that was saved last in this attempt; the next call knows of none.
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

    /// Rows of earlier attempts that are still to be deleted.
    pub(crate) fn strays(&self) -> MutexGuard<'_, Vec<Uuid>> {
        locked(&self.inner.strays)
    }

    /// For managed callbacks: remembers the message, in the transaction that the callback has
    /// opened on `conn`. Make it the first statement of that transaction. Headers or a body that the
    /// columns cannot hold are stored as NULL; PostgreSQL aborts the transaction for them, and the
    /// callback is called once more.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] when the message had its effect before: hand it on with `?`. Else when
    /// the database refuses.
    pub fn save<C: AsBackend>(&self, conn: &mut C) -> Result<Proof, Error> {
        let conn = conn.as_backend();
        let mut arrival = self.arrival(0).fitted(conn);
        let attempt = self.attempt.as_deref();
        if attempt.is_some_and(|it| it.is_bare) {
            arrival = arrival.bare();
        }
        let inserted = match conn.insert_received(&arrival) {
            Err(error) if is_unique_violation(&error) || is_infrastructure(&error) => Err(error),
            Err(error) => match conn.insert_received(&arrival.bare()) {
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
                    locked(&attempt.saved).replace(arrival.id());
                }
                Ok(self.proof(true))
            }
            Err(error) if is_unique_violation(&error) => Err(Error::Duplicate(Duplicate {
                msg_id: self.inner.msg_id.clone(),
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// For managed callbacks: gives the message up. It goes to the dead letters and leaves no row.
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
