//! A call before it is a row.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use uuid::Uuid;

use super::call::Call;
use super::encoding::Stored;
use super::error::CallError;
#[cfg(feature = "calls")]
use super::immediate::keep_unwritten;
use super::persist::Persist;
use crate::backend::{AsBackend, Backend, NewCallRow, Storage, shared_key};
#[cfg(feature = "calls")]
use crate::backend::{CallColumns, Claimed, Wait};
use crate::column_widths::{self as width, Misfit};
use crate::error::Error;
use crate::headers::{self, Headers};
use crate::json;
use crate::moment::Moment;
use crate::pending_row::{PendingRow, insert};
use crate::signing::Keys;
use crate::traces;

/// A call with its options, before it is written.
///
/// The methods of [`Call`] create it. Like every call it carries the correlation id and the trace of the open
/// scope; see [`correlation`](crate::correlation).
///
/// ```
/// use std::time::Duration;
///
/// use diesel_outbox::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Charge {
///     order: i64,
/// }
///
/// impl Call for Charge {
///     const NAME: &'static str = "shop.charge";
/// }
///
/// # #[cfg(feature = "sqlite")]
/// fn order(conn: &mut diesel::SqliteConnection) -> Result<(), diesel_outbox::Error> {
///     let call = Charge { order: 7 };
///     call.key("customer-1").delay(Duration::from_secs(60)).write(conn)?;
///     Ok(())
/// }
/// ```
#[must_use = "a call is not written until `write`"]
pub struct NewCall<T> {
    call: T,
    id: Option<Uuid>,
    headers: Headers,
    stream: Option<String>,
    key: Option<String>,
    expires: Option<Moment>,
    due: Option<Moment>,
}

impl<T: Call> NewCall<T> {
    /// A call without options.
    pub fn new(call: T) -> Self {
        Self {
            call,
            id: None,
            headers: Headers::new(),
            stream: None,
            key: None,
            expires: None,
            due: None,
        }
    }

    /// Sets the id; the default is a new UUIDv7.
    ///
    /// With an id that is derived from the work, a write that is retried does not become a second call:
    /// [`write`](Self::write) returns [`Error::IdTaken`] for the second one, and
    /// [`write_if_new`](Self::write_if_new) returns false. The rest of the call is not compared. This holds as
    /// long as the row is in the table: rows of calls that succeeded are deleted after `days_to_keep`.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the ordering key: calls with the same key are executed one after another, in the order of writing.
    /// It has at most 255 characters, and replaces [`Call::ordering_key`].
    pub fn key(mut self, key: impl ToString) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// Sets the stream instead of [`Call::STREAM`]; at most 100 characters. A stream can be executed or paused on
    /// its own.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Sets a header, such as the id of a tenant. The correlation id overrides a header of its name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the moment before which the call is not executed. Until then it blocks the later calls of its
    /// ordering key.
    ///
    /// Moments before 1970 count as 1970, and moments after the year 9000 as 9000.
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.due = Some(Moment::At(moment));
        self
    }

    /// Sets the time after writing, by the database's clock, before which the call is not executed. Until then
    /// it blocks the later calls of its ordering key. Writing then queries the database's time.
    pub fn delay(mut self, time: Duration) -> Self {
        self.due = Some(Moment::In(time));
        self
    }

    /// Sets the moment after which the call is no longer executed, but parked with the reason `expired`.
    pub fn expires_at(mut self, moment: DateTime<Utc>) -> Self {
        self.expires = Some(Moment::At(moment));
        self
    }

    /// Sets the time after writing, by the database's clock, after which the call is no longer executed, but
    /// parked with the reason `expired`. Writing then queries the database's time.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires = Some(Moment::In(lifetime));
        self
    }

    /// Writes the call, in the caller's transaction if one is open. Returns its id.
    ///
    /// # Errors
    ///
    /// If the call is invalid, a row has its [`id`](Self::id) already ([`Error::IdTaken`]), or the database
    /// fails; nothing is written then. After [`Error::IdTaken`] the caller's transaction continues.
    pub fn write<C: AsBackend>(self, conn: &mut C) -> Result<Uuid, Error> {
        let ready = self.ready()?;
        let id = ready.id;
        let conn = conn.as_backend();
        let ready = keep_unwritten(conn, vec![ready]);
        insert(conn, ready)?;
        Ok(id)
    }

    /// Writes the call. Returns false, and writes nothing, if a row has its [`id`](Self::id) already.
    ///
    /// The caller's transaction continues then. If another transaction is writing the same id, this call waits
    /// until that one ends.
    ///
    /// # Errors
    ///
    /// If the call is invalid or the database fails; nothing is written then.
    pub fn write_if_new<C: AsBackend>(self, conn: &mut C) -> Result<bool, Error> {
        match self.write(conn) {
            Ok(_) => Ok(true),
            Err(Error::IdTaken(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks the call, encodes its arguments and completes its headers.
    fn ready(self) -> Result<Ready, CallError> {
        if T::NAME.trim().is_empty() {
            return Err(CallError::EmptyName);
        }
        let stream = self.stream.or_else(|| T::STREAM.map(str::to_owned));
        let key = self.key.or_else(|| self.call.ordering_key());
        check("name", Some(T::NAME), width::CALL_NAME)?;
        check("stream", stream.as_deref(), width::STREAM)?;
        check("key", key.as_deref(), width::KEY)?;
        let key = key.or_else(|| {
            T::ORDERED.then(|| match &stream {
                Some(stream) => shared_key("stream", stream),
                None => shared_key("call", T::NAME),
            })
        });
        let encoding = T::ENCODING;
        let stored = encoding.encode(&self.call);
        let stored = stored.map_err(|source| CallError::Encode {
            name: T::NAME,
            encoding: encoding.name(),
            source,
        })?;
        let id = self.id.unwrap_or_else(Uuid::now_v7);
        let mut headers = self.headers;
        let _span = traces::propagate(&mut headers, || traces::create_call(T::NAME, id));
        headers.insert(
            headers::CORRELATION_ID.to_owned(),
            headers::correlation_id(),
        );
        for (name, value) in &headers {
            if name.is_empty() {
                return Err(CallError::EmptyHeaderName);
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(CallError::Nul {
                    what: format!("the header `{}`", name.escape_default()),
                });
            }
        }
        Ok(Ready {
            id,
            has_own_id: self.id.is_some(),
            name: T::NAME,
            stored,
            encoding: encoding.name(),
            headers,
            stream,
            key,
            expires: self.expires,
            due: self.due,
            persist: T::PERSIST,
        })
    }
}

impl<T: Call> fmt::Debug for NewCall<T> {
    // Not the arguments: they may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCall")
            .field("name", &T::NAME)
            .field("id", &self.id)
            .field("stream", &self.stream)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A call, with or without options.
pub trait IntoNewCall {
    /// The call.
    type Call: Call;

    /// The call with its options.
    fn into_new_call(self) -> NewCall<Self::Call>;
}

impl<T: Call> IntoNewCall for T {
    type Call = T;

    fn into_new_call(self) -> NewCall<T> {
        NewCall::new(self)
    }
}

impl<T: Call> IntoNewCall for NewCall<T> {
    type Call = T;

    fn into_new_call(self) -> Self {
        self
    }
}

/// Writes calls of one function in the caller's transaction, in their order, up to 500 in one statement. Returns
/// their ids.
///
/// # Errors
///
/// As [`NewCall::write`]. No call is written then.
pub fn write_all<C: AsBackend, N: IntoNewCall>(
    conn: &mut C,
    calls: impl IntoIterator<Item = N>,
) -> Result<Vec<Uuid>, Error> {
    let calls = calls.into_iter().map(|call| call.into_new_call().ready());
    let calls = calls.collect::<Result<Vec<_>, _>>()?;
    let ids = calls.iter().map(|call| call.id).collect();
    let conn = conn.as_backend();
    // Before a savepoint is opened.
    let calls = keep_unwritten(conn, calls);
    if calls.len() > 1 {
        conn.atomically(|conn| insert(conn, calls))?;
    } else {
        insert(conn, calls)?;
    }
    Ok(ids)
}

/// Without the feature `calls` every call gets a row.
#[cfg(not(feature = "calls"))]
fn keep_unwritten<C>(_: &mut C, calls: Vec<Ready>) -> Vec<Ready> {
    calls
}

/// A valid call with all its headers.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) id: Uuid,
    has_own_id: bool,
    pub(super) name: &'static str,
    stored: Stored,
    encoding: &'static str,
    headers: Headers,
    pub(super) stream: Option<String>,
    key: Option<String>,
    expires: Option<Moment>,
    due: Option<Moment>,
    #[cfg_attr(not(feature = "calls"), allow(dead_code))]
    persist: Persist,
}

#[cfg(feature = "calls")]
impl Ready {
    /// Whether the call may be executed without a row. A row is what keeps an id, an order and a time.
    pub(super) fn may_be_unwritten(&self) -> bool {
        self.persist == Persist::Failures
            && !self.has_own_id
            && self.key.is_none()
            && self.due.is_none()
            && self.expires.is_none()
    }

    pub(super) fn holds_nul(&self) -> bool {
        matches!(&self.stored, Stored::Args(args) if json::holds_nul(args))
    }

    /// The call as a claim would return its row.
    pub(super) fn claimed(&self) -> Claimed {
        let (body, payload) = match &self.stored {
            Stored::Args(args) => (args.to_string(), None),
            Stored::Payload(payload) => (String::new(), Some(payload.clone())),
        };
        Claimed {
            seq: 0,
            id: self.id,
            bad_id: None,
            destination: self.name.to_owned(),
            body,
            headers: headers::to_text(&self.headers),
            key: None,
            stream: self.stream.clone(),
            signature: None,
            retry: 0,
            expired: false,
            too_large: None,
            call: Some(CallColumns {
                encoding: self.encoding.to_owned(),
                payload,
                crashes: 0,
            }),
            wait: Wait::default(),
        }
    }
}

impl PendingRow for Ready {
    type Row = NewCallRow;

    fn id(&self) -> Uuid {
        self.id
    }

    fn has_own_id(&self) -> bool {
        self.has_own_id
    }

    fn counts_from_the_present(&self) -> bool {
        Moment::any_is_relative([self.expires, self.due])
    }

    fn into_row(self, refuses_nul: bool, now: DateTime<Utc>) -> Result<NewCallRow, Error> {
        if let Stored::Args(args) = &self.stored
            && refuses_nul
            && json::holds_nul(args)
        {
            return Err(Error::Call(CallError::Nul {
                what: "an argument".to_owned(),
            }));
        }
        Ok(NewCallRow::new(
            self.id,
            self.name,
            self.stored,
            self.encoding,
            self.headers,
            self.expires.map(|moment| moment.from(now)),
            self.stream,
            self.key,
            self.due.map(|moment| moment.from(now)),
        ))
    }

    #[cfg(feature = "calls")]
    fn lease<C: Backend>(conn: &mut C, rows: &mut [NewCallRow]) -> Result<(), Error> {
        super::immediate::lease(conn, rows)
    }

    fn sign(row: NewCallRow, keys: &Keys, has_long_number: &mut bool) -> Result<NewCallRow, Error> {
        row.sign(keys, has_long_number)
    }

    fn insert<C: Backend>(conn: &mut C, rows: &[NewCallRow]) -> QueryResult<()> {
        conn.insert_calls(rows)
    }

    fn insert_if_new<C: Backend>(conn: &mut C, row: &NewCallRow) -> QueryResult<bool> {
        conn.insert_call_if_new(row)
    }
}

fn check(what: &'static str, text: Option<&str>, limit: usize) -> Result<(), CallError> {
    width::check(text, limit).map_err(|misfit| match misfit {
        Misfit::TooLong(length) => CallError::TooLong {
            what,
            length,
            limit,
        },
        Misfit::Nul => CallError::Nul {
            what: format!("the {what}"),
        },
    })
}
