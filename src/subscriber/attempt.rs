//! One attempt at a message: the inbox row first, then the callback, then the commit.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tracing::Span;
use uuid::Uuid;

use super::{managed, thread_watch};
use crate::backend::{Backend, CommitError, LastError, NewReceived};
use crate::callback::Outcome;
use crate::callback::kind::Blocking;
use crate::callback::payload::{Payload, is_unique_violation};
use crate::correlation;
use crate::db::{Db, Fault, fault, is_infrastructure, is_unexplained, is_unknown, is_unsent};
use crate::error::BoxError;
use crate::permanent::is_permanent;
use crate::traces;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The message had its effect, and it is committed.
    Done,
    /// It had its effect before.
    Duplicate,
    /// The callback discarded it, for this reason.
    Discarded(String),
    /// The callback failed by itself.
    Failed {
        error: BoxError,
        /// Another attempt would meet it again.
        is_permanent: bool,
    },
    /// It is a redelivery, and this many attempts at it ended with their process: the limit is reached.
    CrashLimit(u32),
    /// Attempts at it have ended with their process, and it does not run alone.
    Suspect,
    /// The shutdown signal was given before the attempt started or ended.
    NotStarted,
    /// Another transaction was in the way. Not the message's fault.
    Contended(BoxError),
    /// The database or the network failed. Not the message's fault.
    Unavailable(BoxError),
    /// The same, while the database works on another connection: only this message waits.
    Lost(BoxError),
}

impl From<TransactionMisuse> for Attempt {
    /// Another attempt would repeat what is committed already.
    fn from(misuse: TransactionMisuse) -> Self {
        Self::Failed {
            error: misuse.into(),
            is_permanent: true,
        }
    }
}

impl Attempt {
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        Self::failed(panicked(panic))
    }

    /// Records the result in the span of the attempt.
    pub(super) fn record(&self, span: &Span) {
        let (outcome, failure): (_, Option<&dyn Display>) = match self {
            Self::Done => ("done", None),
            Self::Duplicate => ("duplicate", None),
            Self::Discarded(_) => ("discarded", None),
            Self::Failed { error, .. } => ("failed", Some(error)),
            Self::Contended(error) | Self::Unavailable(error) | Self::Lost(error) => {
                ("interrupted", Some(error))
            }
            Self::CrashLimit(_) | Self::Suspect | Self::NotStarted => ("not_started", None),
        };
        traces::ended(span, outcome);
        if let Some(error) = failure {
            traces::failed(span, outcome, error);
        }
    }

    /// Corrects the result by whether the attempt's connection is dead now.
    fn on_connection(self, is_dead: bool) -> Self {
        match self {
            // The error may be a consequence of the lost connection.
            Self::Failed { error, .. } | Self::Contended(error) if is_dead => {
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
    /// The callback broke the rules of the transaction; another attempt would not help.
    TransactionMisuse(TransactionMisuse),
    /// The row is new and could not be written: headers or body do not fit their columns.
    Unfit(DieselError),
    Discarded(String),
    Failed(BoxError),
    /// The callback returned an error; the attempt it means.
    OfCallback(Attempt),
    /// BEGIN, COMMIT or a statement of ours.
    Database(DieselError),
}

impl From<DieselError> for Undone {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

/// A callback broke the rules of the inbox transaction, or of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransactionMisuse {
    #[error("a statement of the callback failed and the callback went on as if it had not")]
    Aborted(#[source] DieselError),
    #[error("the callback deleted the inbox row of its message")]
    Gone,
    #[error(
        "the callback ended the inbox transaction by a ROLLBACK, so that nothing would remember the \
         message; statements after the ROLLBACK may have been committed: leave BEGIN, COMMIT and \
         ROLLBACK to the inbox"
    )]
    Ended,
    #[error(
        "a part of the callback's work was committed too early, by COMMIT or by a statement with an \
         implicit commit (DDL on MySQL and MariaDB), and the callback did not succeed as a whole; the \
         inbox row was deleted: check what the callback wrote, then replay the message"
    )]
    Committed(#[source] Option<BoxError>),
}

/// The database refuses a statement of the outbox, and not because of the server's state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(#[source] BoxError);

/// The callback panicked.
#[derive(Debug, thiserror::Error)]
#[error("the callback panicked: {0}")]
struct Panicked(String);

pub(super) fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no text)".to_owned());
    Panicked(text).into()
}

/// Makes one attempt, on this thread. `before` attempts have failed by the message's own fault.
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

/// The same on a connection that was opened for the message, by [`Db::pair`].
pub(super) fn attempt_alone<C: Backend>(
    db: &Db<C>,
    conn: &mut C,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    let lift_limit = |conn: &mut C| db.lift_limit(conn);
    let attempt = attempt_with(conn, callback, payload, before, lift_limit);
    let is_dead = has_failed(&attempt) && (conn.is_broken() || conn.ping().is_err());
    attempt.on_connection(is_dead)
}

fn has_failed(attempt: &Attempt) -> bool {
    matches!(
        attempt,
        Attempt::Failed { .. } | Attempt::Contended(_) | Attempt::Unavailable(_)
    )
}

/// The same on an existing connection.
pub(crate) fn attempt_on<C: Backend>(
    conn: &mut C,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    attempt_with(conn, callback, payload, before, |_| Ok(()))
}

/// The same; `lift_limit` lifts the time limit of statements before the callback is called.
fn attempt_with<C: Backend>(
    conn: &mut C,
    callback: &Blocking<C>,
    payload: &Payload,
    before: u32,
    lift_limit: impl Fn(&mut C) -> QueryResult<()>,
) -> Attempt {
    let span = traces::process(payload);
    let attempt =
        correlation::on_behalf(
            payload.correlation_id(),
            payload.trace(),
            &span,
            || match callback {
                Blocking::Transactional(call) => transactional(conn, payload, before, |conn| {
                    lift_limit(conn)?;
                    thread_watch::callback(|| call(conn, payload))
                }),
                Blocking::Managed(call) => {
                    let call = |conn: &mut C, payload: &Payload| {
                        lift_limit(conn)?;
                        thread_watch::callback(|| call(conn, payload))
                    };
                    managed::attempt(conn, call, payload, before)
                }
            },
        );
    attempt.record(&span);
    attempt
}

fn transactional<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    before: u32,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Attempt {
    if let Err(attempt) = delete_leftovers(conn, payload) {
        return attempt;
    }
    let row = payload.new_received(before).fitted(conn);
    let undone = match in_transaction(conn, payload, &row, &call) {
        Ok(()) => return Attempt::Done,
        Err(Undone::Unfit(error)) => {
            tracing::debug!(id = payload.msg_id(), error = %error, "stored without its documents");
            match in_transaction(conn, payload, &row.bare(), &call) {
                Ok(()) => return Attempt::Done,
                Err(undone) => undone,
            }
        }
        Err(undone) => undone,
    };
    match undone {
        Undone::Duplicate => Attempt::Duplicate,
        Undone::Discarded(reason) => Attempt::Discarded(reason),
        Undone::TransactionMisuse(misuse) => misuse.into(),
        Undone::Failed(error) => of_callback_error(error),
        Undone::OfCallback(attempt) => attempt,
        // A deferred constraint that the callback has violated shows at COMMIT.
        Undone::Unfit(error) | Undone::Database(error) if is_violation(&error) => {
            Attempt::failed(error)
        }
        Undone::Unfit(error) | Undone::Database(error) => of_database_error(error.into()),
    }
}

fn in_transaction<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    row: &NewReceived,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Result<(), Undone> {
    let open = conn.begin_inbox()?;
    if let Err(undone) = insert(conn, row) {
        conn.roll_back_inbox(open);
        return Err(undone);
    }
    let undone = match call_in_transaction(conn, call) {
        Ok(()) => match conn.commit_inbox(open, payload.msg_id(), payload.consumer()) {
            Ok(()) => return Ok(()),
            Err(CommitError::Commit(error)) => return Err(Undone::Database(error)),
            // A deferred constraint may be checked before COMMIT.
            Err(CommitError::Before(error))
                if is_infrastructure(&error) || is_violation(&error) =>
            {
                return Err(Undone::Database(error));
            }
            Err(CommitError::Before(error)) => {
                Undone::Failed(TransactionMisuse::Aborted(error).into())
            }
            Err(CommitError::Gone) => Undone::Failed(TransactionMisuse::Gone.into()),
            Err(CommitError::Ended) => Undone::TransactionMisuse(TransactionMisuse::Ended),
        },
        Err(undone) => {
            conn.end_inbox(open);
            undone
        }
    };
    // It is rolled back, so the row exists only if something has committed it.
    Err(match delete_received(conn, payload, row.id()) {
        Ok(true) => Undone::TransactionMisuse(TransactionMisuse::Committed(match undone {
            Undone::Failed(error)
            | Undone::OfCallback(
                Attempt::Failed { error, .. }
                | Attempt::Contended(error)
                | Attempt::Unavailable(error),
            ) => Some(error),
            _ => None,
        })),
        Ok(false) | Err(_) => undone,
    })
}

fn insert<C: Backend>(conn: &mut C, row: &NewReceived) -> Result<(), Undone> {
    match conn.insert_received(row) {
        Ok(()) => Ok(()),
        Err(error) if is_unique_violation(&error) => Err(Undone::Duplicate),
        Err(error) if is_infrastructure(&error) => Err(Undone::Database(error)),
        Err(error) => Err(Undone::Unfit(error)),
    }
}

fn call_in_transaction<C: Backend>(
    conn: &mut C,
    call: impl Fn(&mut C) -> Result<Outcome, BoxError>,
) -> Result<(), Undone> {
    match catch_unwind(AssertUnwindSafe(|| call(conn))) {
        Err(panic) => Err(Undone::Failed(panicked(&*panic))),
        // Before any other statement on the connection.
        Ok(Err(error)) => Err(Undone::OfCallback(of_fault(
            callback_fault(conn, &error),
            error,
        ))),
        Ok(Ok(Outcome::Discard(reason))) => Err(Undone::Discarded(reason)),
        Ok(Ok(Outcome::Done)) => Ok(()),
    }
}

/// Deletes the row of a failed attempt, which exists only if something has committed it; otherwise the next
/// attempt would count as a duplicate. Returns whether the row existed. If the connection is lost, the next
/// attempt deletes it.
pub(super) fn delete_received<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    id: Uuid,
) -> Result<bool, DieselError> {
    let deleted = conn.delete_received(id);
    if let Err(error) = &deleted {
        tracing::debug!(id = payload.msg_id(), error = %error, "the row of a failed attempt may still exist");
        payload.leftovers().push(id);
    }
    deleted
}

/// Deletes rows that earlier attempts could not delete. The error is the result if there is no attempt.
pub(super) fn delete_leftovers<C: Backend>(conn: &mut C, payload: &Payload) -> Result<(), Attempt> {
    loop {
        // An abandoned attempt may wait here; it must not block the next one, so no lock is held.
        let last = payload.leftovers().last().copied();
        let Some(id) = last else { return Ok(()) };
        match conn.delete_received(id) {
            Ok(false) => payload.leftovers().retain(|leftover| *leftover != id),
            Ok(true) => {
                payload.leftovers().clear();
                return Err(TransactionMisuse::Committed(None).into());
            }
            Err(error) => return Err(of_database_error(error.into())),
        }
    }
}

/// The attempt that a callback's error means.
pub(super) fn of_callback_error(error: BoxError) -> Attempt {
    of_fault(fault(error.as_ref(), None), error)
}

/// The kind of fault that a callback's error is. The server may be asked for the error's number, which must happen
/// before any other statement.
pub(super) fn callback_fault<C: Backend>(conn: &mut C, error: &BoxError) -> Fault {
    let last: Option<LastError> = is_unknown(error.as_ref())
        .then(|| conn.last_error())
        .flatten();
    fault(error.as_ref(), last.as_ref())
}

/// The attempt that a callback's error means, by its kind of fault.
pub(super) fn of_fault(fault: Fault, error: BoxError) -> Attempt {
    match fault {
        Fault::Own => Attempt::failed(error),
        Fault::Contention => Attempt::Contended(error),
        Fault::Outage | Fault::ReadOnly => Attempt::Unavailable(error),
    }
}

/// The attempt that a failure of the database means.
pub(super) fn of_database_error(error: BoxError) -> Attempt {
    match fault(error.as_ref(), None) {
        Fault::Contention => Attempt::Contended(error),
        _ if is_unexplained(error.as_ref()) => Attempt::Unavailable(Refused(error).into()),
        // `outage_check` finds out whether it is the message's own.
        _ => Attempt::Unavailable(error),
    }
}

/// Whether the database refused the values, as opposed to being unable to write.
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
