//! One attempt at a message: inbox first, then the callback, then the commit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::desk;
use crate::backend::{Arrival, Backend, CommitError};
use crate::correlation;
use crate::db::{Db, DbError, Fault, LastError, fault, is_infrastructure, is_unknown, is_unsent};
use crate::error::Error;
use crate::payload::{Duplicate, Payload, Proof, is_unique_violation};
use crate::permanent::is_permanent;
use crate::registry::{Blocking, BoxError, External, Outcome};

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The message had its effect, and the database knows.
    Done,
    /// It had its effect before.
    Duplicate,
    /// It is given up for this reason.
    Discarded(String),
    /// The callback failed by itself.
    Failed {
        error: BoxError,
        /// Another attempt would meet it again.
        is_permanent: bool,
    },
    /// It came again and was begun so many times without coming to its end, which is too often.
    Deadly(u32),
    /// It was begun more than once without coming to its end, and is not alone.
    Suspect,
    /// Before it was begun, we were asked to stop.
    NotBegun,
    /// Another transaction was in the way; the message is not to blame.
    Hindered(BoxError),
    /// The database or the network failed; the message is not to blame.
    Unavailable(BoxError),
    /// The same, while the database works on another connection: this message waits, and no other.
    Lost(BoxError),
}

impl Attempt {
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        Self::failed(panicked(panic))
    }

    /// What it means where the connection that it ran on is dead now, or is not.
    fn on_connection(self, is_dead: bool) -> Self {
        match self {
            // Whatever the callback made of it: without a connection nobody can say.
            Self::Failed { error, .. } | Self::Hindered(error) if is_dead => {
                Self::Unavailable(error)
            }
            // The client library refused the statement itself, such as one with too many values.
            Self::Unavailable(error) if !is_dead && is_unsent(error.as_ref()) => {
                Self::failed(error)
            }
            other => other,
        }
    }

    pub(super) fn failed(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        Self::Failed {
            is_permanent: is_permanent(error.as_ref()),
            error,
        }
    }
}

/// Why an inbox transaction did not commit.
enum Undone {
    Duplicate,
    /// The row could not be written, though it is new: its documents do not fit their columns.
    Unfit(DieselError),
    Discarded(String),
    Failed(BoxError),
    /// The callback returned an error, and this is what it means.
    Blamed(Attempt),
    /// BEGIN, COMMIT or a statement of ours.
    Database(DieselError),
}

impl From<DieselError> for Undone {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

/// The callback went on after a failed statement, or ended the transaction that it works in.
#[derive(Debug, thiserror::Error)]
enum Disorder {
    #[error(
        "a statement of the callback failed and the callback went on as if it had not, or it ended \
         the inbox's transaction"
    )]
    Aborted(#[source] DieselError),
    #[error("the callback ended the inbox's transaction, or deleted its row")]
    Gone,
    #[error(
        "the callback returned its proof, but the message is not in the inbox: commit the transaction in which it was saved"
    )]
    NotSaved,
    #[error("the callback returned the proof of another message")]
    OtherMessage,
}

/// The callback panicked.
#[derive(Debug, thiserror::Error)]
#[error("the callback panicked: {0}")]
struct Panicked(String);

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no text)".to_owned());
    Panicked(text).into()
}

/// Tries the message once, on this thread. `before` attempts have failed by the message's own fault.
pub(super) fn attempt<C: Backend>(
    db: &Db<C>,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    let work = |conn: &mut C| attempt_on(conn, callback, payload, before);
    match db.lend(work, has_failed) {
        Ok((attempt, is_dead)) => attempt.on_connection(is_dead),
        Err(error) => Attempt::Unavailable(error.into()),
    }
}

/// The same on a connection that was opened for the message.
pub(super) fn attempt_alone<C: Backend>(
    conn: &mut C,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    let attempt = attempt_on(conn, callback, payload, before);
    let is_dead = has_failed(&attempt) && (conn.is_broken() || conn.ping().is_err());
    attempt.on_connection(is_dead)
}

fn has_failed(attempt: &Attempt) -> bool {
    matches!(
        attempt,
        Attempt::Failed { .. } | Attempt::Hindered(_) | Attempt::Unavailable(_)
    )
}

/// The same on a connection that is there already.
pub(crate) fn attempt_on<C: Backend>(
    conn: &mut C,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    correlation::on_behalf(
        payload.correlation_id(),
        payload.trace(),
        || match callback {
            Blocking::Transactional(call) => transactional(conn, payload, before, |conn| {
                desk::callback(|| call(conn, payload))
            }),
            Blocking::Managed(call) => {
                managed(conn, payload, |conn| desk::callback(|| call(conn, payload)))
            }
        },
    )
}

fn transactional<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    before: u32,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Attempt {
    let arrival = payload.arrival(before).fitted(conn);
    let undone = match in_transaction(conn, payload, &arrival, &call) {
        Ok(()) => return Attempt::Done,
        Err(Undone::Unfit(error)) => {
            tracing::debug!(id = payload.msg_id(), error = %error, "stored without its documents");
            match in_transaction(conn, payload, &arrival.bare(), &call) {
                Ok(()) => return Attempt::Done,
                Err(undone) => undone,
            }
        }
        Err(undone) => undone,
    };
    match undone {
        Undone::Duplicate => Attempt::Duplicate,
        Undone::Discarded(reason) => Attempt::Discarded(reason),
        Undone::Failed(error) => blame(error),
        Undone::Blamed(attempt) => attempt,
        // A deferred constraint that the callback has violated shows at COMMIT.
        Undone::Unfit(error) | Undone::Database(error) if is_violation(&error) => {
            Attempt::failed(error)
        }
        Undone::Unfit(error) | Undone::Database(error) => hindrance(error.into()),
    }
}

fn in_transaction<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    arrival: &Arrival,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Result<(), Undone> {
    let open = conn.begin_inbox()?;
    if let Err(undone) = in_open_transaction(conn, arrival, call) {
        conn.roll_back_inbox(open);
        return Err(undone);
    }
    conn.commit_inbox(open, payload.msg_id(), payload.consumer())
        .map_err(|error| match error {
            CommitError::Gone => Undone::Failed(Disorder::Gone.into()),
            CommitError::Commit(error) => Undone::Database(error),
            // A deferred constraint may be looked at before COMMIT.
            CommitError::Before(error) if is_infrastructure(&error) || is_violation(&error) => {
                Undone::Database(error)
            }
            CommitError::Before(error) => Undone::Failed(Disorder::Aborted(error).into()),
        })
}

fn in_open_transaction<C: Backend>(
    conn: &mut C,
    arrival: &Arrival,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Result<(), Undone> {
    match conn.insert_received(arrival) {
        Ok(()) => {}
        Err(error) if is_unique_violation(&error) => return Err(Undone::Duplicate),
        Err(error) if is_infrastructure(&error) => return Err(Undone::Database(error)),
        Err(error) => return Err(Undone::Unfit(error)),
    }
    match catch_unwind(AssertUnwindSafe(|| call(conn))) {
        Err(panic) => Err(Undone::Failed(panicked(&*panic))),
        // Before anything else is said on the connection.
        Ok(Err(error)) => Err(Undone::Blamed(blame_on(conn, error))),
        Ok(Ok(Outcome::Discard(reason))) => Err(Undone::Discarded(reason)),
        Ok(Ok(Outcome::Done)) => Ok(()),
    }
}

fn managed<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    call: impl Fn(&mut C) -> Result<Proof, BoxError>,
) -> Attempt {
    match is_received(conn, payload) {
        Ok(false) => {}
        Ok(true) => return Attempt::Duplicate,
        Err(attempt) => return attempt,
    }
    let proof = match catch_unwind(AssertUnwindSafe(|| call(conn))) {
        Err(panic) => return Attempt::failed(panicked(&*panic)),
        Ok(Err(error)) if is_duplicate(error.as_ref()) => return Attempt::Duplicate,
        Ok(Err(error)) => return blame_on(conn, error),
        Ok(Ok(proof)) => proof,
    };
    if proof.msg_id != payload.msg_id() {
        return Attempt::failed(Disorder::OtherMessage);
    }
    if !proof.was_saved {
        return Attempt::Discarded("the callback gave it up".to_owned());
    }
    match is_received(conn, payload) {
        Ok(true) => Attempt::Done,
        Ok(false) => Attempt::failed(Disorder::NotSaved),
        Err(attempt) => attempt,
    }
}

fn is_received<C: Backend>(conn: &mut C, payload: &Payload) -> Result<bool, Attempt> {
    conn.is_received(payload.msg_id(), payload.consumer())
        .map_err(|error| hindrance(error.into()))
}

/// The same for a callback whose work is not in the database.
pub(super) async fn attempt_apart<C: Backend>(
    db: &Db<C>,
    call: &Arc<External>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    let work = call(payload.clone());
    let unavailable = |error: DbError| hindrance(error.into());
    let (id, consumer) = (payload.msg_id().to_owned(), payload.consumer().to_owned());
    match db.run(move |conn| conn.is_received(&id, &consumer)).await {
        Ok(false) => {}
        Ok(true) => return Attempt::Duplicate,
        Err(error) => return unavailable(error),
    }
    let id = payload.correlation_id().to_owned();
    let scoped = correlation::on_behalf_async(id, payload.trace(), work);
    // A task of its own, so that a panic ends there.
    match tokio::spawn(scoped).await {
        Err(error) if error.is_panic() => {
            return Attempt::failed(panicked(&*error.into_panic()));
        }
        Err(error) => return Attempt::Unavailable(error.into()),
        Ok(Err(error)) => return blame(error),
        Ok(Ok(Outcome::Discard(reason))) => return Attempt::Discarded(reason),
        Ok(Ok(Outcome::Done)) => {}
    }
    let payload = payload.clone();
    let remembered = db
        .run(move |conn| {
            let arrival = payload.arrival(before).fitted(conn);
            match conn.insert_received(&arrival) {
                Err(error) if !is_unique_violation(&error) && !is_infrastructure(&error) => {
                    conn.insert_received(&arrival.bare())
                }
                other => other,
            }
        })
        .await;
    match remembered {
        Ok(()) => Attempt::Done,
        // Another consumer was faster; the work was done twice, as the documentation says.
        Err(DbError::Statement(error)) if is_unique_violation(&error) => Attempt::Done,
        Err(error) => unavailable(error),
    }
}

/// Whose fault a callback's error is.
fn blame(error: BoxError) -> Attempt {
    blamed(error, None)
}

/// The same where the server may be asked for the number of the error, which must come first.
fn blame_on<C: Backend>(conn: &mut C, error: BoxError) -> Attempt {
    let last = is_unknown(error.as_ref()).then(|| conn.last_error());
    blamed(error, last.flatten().as_ref())
}

fn blamed(error: BoxError, last: Option<&LastError>) -> Attempt {
    match fault(error.as_ref(), last) {
        Fault::Own => Attempt::failed(error),
        Fault::Contention => Attempt::Hindered(error),
        Fault::Outage | Fault::ReadOnly => Attempt::Unavailable(error),
    }
}

/// What the database's own failure means.
pub(super) fn hindrance(error: BoxError) -> Attempt {
    match fault(error.as_ref(), None) {
        Fault::Contention => Attempt::Hindered(error),
        // What is none of the message's own is looked into by `blame`.
        _ => Attempt::Unavailable(error),
    }
}

fn is_duplicate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Duplicate>() || matches!(error.downcast_ref(), Some(Error::Duplicate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the database refused what was written, as opposed to being unable to write.
fn is_violation(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ExclusionViolation
                | DatabaseErrorKind::RestrictViolation,
            _
        )
    )
}
