//! A function call as a value: its name, its arguments and its options.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::encoding::Encoding;
use super::new_call::NewCall;
use super::persist::Persist;
use crate::backend::AsBackend;
use crate::error::Error;
use crate::retry_policy::RetryPolicy;

/// A function call that can go through the outbox. The value holds the arguments.
///
/// The attribute `outboxed` implements it for a struct with the name of the function, whose fields are the
/// parameters. Arguments are stored as a JSON object by the name of the parameter, so a row that was written
/// before an `Option` parameter was added, or another one removed, can still be read.
///
/// The constants describe all calls of the function; the methods write this one: [`write`](Self::write), or first
/// options, as in `call.key("customer-1").write(conn)?`.
pub trait Call: Serialize + DeserializeOwned + Send + 'static {
    /// The name in the table; at most 255 characters, and unique in a registry.
    const NAME: &'static str;
    /// Former names, under which rows may still wait.
    const ALIASES: &'static [&'static str] = &[];
    /// The stream of the rows; at most 100 characters.
    const STREAM: Option<&'static str> = None;
    /// Whether calls without an ordering key share one: that of their stream, or of this name if they have no
    /// stream. Calls with the same key are executed one after another, in the order of writing.
    const ORDERED: bool = false;
    /// When failed calls are executed again, and when they are parked. An executor does not start with values
    /// outside their limits.
    const RETRY: RetryPolicy = RetryPolicy::new();
    /// The time limit of one execution; `None`: the executor's setting. After it an async function is dropped, and
    /// the attempt has failed. A blocking function cannot be ended: a line is logged, and its result counts. Time in
    /// which the whole process stood still counts as a fifth of the limit at most.
    const TIMEOUT: Option<Duration> = None;
    /// When a call gets a row.
    const PERSIST: Persist = Persist::Always;
    /// How the arguments are stored.
    const ENCODING: Encoding<Self> = Encoding::JSON;

    /// The ordering key of this call; at most 255 characters.
    fn ordering_key(&self) -> Option<String> {
        None
    }

    /// Writes the call; see [`NewCall::write`].
    ///
    /// # Errors
    ///
    /// As [`NewCall::write`].
    fn write<C: AsBackend>(self, conn: &mut C) -> Result<Uuid, Error> {
        NewCall::new(self).write(conn)
    }

    /// Sets the id; see [`NewCall::id`].
    fn id(self, id: Uuid) -> NewCall<Self> {
        NewCall::new(self).id(id)
    }

    /// Sets the ordering key; see [`NewCall::key`].
    fn key(self, key: impl ToString) -> NewCall<Self> {
        NewCall::new(self).key(key)
    }

    /// Sets the stream; see [`NewCall::stream`].
    fn stream(self, stream: impl Into<String>) -> NewCall<Self> {
        NewCall::new(self).stream(stream)
    }

    /// Sets a header; see [`NewCall::header`].
    fn header(self, name: impl Into<String>, value: impl Into<String>) -> NewCall<Self> {
        NewCall::new(self).header(name, value)
    }

    /// Sets the moment before which the call is not executed; see [`NewCall::due_at`].
    fn due_at(self, moment: DateTime<Utc>) -> NewCall<Self> {
        NewCall::new(self).due_at(moment)
    }

    /// Sets the time before which the call is not executed; see [`NewCall::delay`].
    fn delay(self, time: Duration) -> NewCall<Self> {
        NewCall::new(self).delay(time)
    }

    /// Sets the moment after which the call is parked; see [`NewCall::expires_at`].
    fn expires_at(self, moment: DateTime<Utc>) -> NewCall<Self> {
        NewCall::new(self).expires_at(moment)
    }

    /// Sets the time after which the call is parked; see [`NewCall::expires_in`].
    fn expires_in(self, lifetime: Duration) -> NewCall<Self> {
        NewCall::new(self).expires_in(lifetime)
    }
}
