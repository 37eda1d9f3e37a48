//! One execution in the transaction that also settles its row.
//!
//! The row is settled by the first statement, so its lock is held until the transaction ends: no other executor
//! can claim the row, even if its lease ends meanwhile, and no renewal is needed. A transaction that commits
//! contains the function's effect and the settlement; one that does not contains neither.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use uuid::Uuid;

use super::execution::panicked;
use crate::backend::{Backend, CALLS, CommitError, RowKey};
use crate::calls::function::CallResult;
use crate::db::{Fault, fault, is_infrastructure, is_unknown};
use crate::error::BoxError;

/// How an execution in a transaction ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The effect and the settlement are committed.
    Recorded,
    /// The row was not under the token. Nothing was executed.
    LeaseLost,
    /// The function failed.
    Failed(BoxError),
    /// The function broke the rules of its transaction; another attempt would not help.
    TransactionMisuse(TransactionMisuse),
    /// The database failed, or another transaction was in the way.
    Interrupted(BoxError),
}

impl Attempt {
    /// Whether the connection is to be checked.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Interrupted(_))
    }

    /// Corrects the result by whether the connection is dead now.
    pub(super) fn on_connection(self, is_dead: bool) -> Self {
        match self {
            Self::Failed(error) if is_dead => Self::Interrupted(error),
            other => other,
        }
    }
}

/// A function broke the rules of its transaction.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransactionMisuse {
    #[error("a statement of the function failed and the function went on as if it had not")]
    Aborted(#[source] DieselError),
    #[error(
        "the function ended its transaction; statements after that may have been committed: leave BEGIN, \
         COMMIT and ROLLBACK to the executor"
    )]
    Ended,
    #[error(
        "a part of the function's work was committed too early, by COMMIT or by a statement with an implicit \
         commit (DDL on MySQL and MariaDB), and the function did not succeed as a whole: check what it \
         wrote, then retry the call"
    )]
    Committed(#[source] Option<BoxError>),
}

/// Executes a function in a transaction, on this thread, which settles the row `record` under its token. Without
/// a row nothing is settled.
pub(super) fn attempt<C: Backend>(
    conn: &mut C,
    record: Option<(Uuid, RowKey)>,
    function: impl FnOnce(&mut C) -> CallResult,
) -> Attempt {
    let open = match conn.begin_inbox() {
        Ok(open) => open,
        Err(error) => return Attempt::Interrupted(error.into()),
    };
    let settled = match record {
        Some((token, row)) => conn.settle_within(CALLS, token, row),
        None => Ok(true),
    };
    match settled {
        Ok(true) => {}
        settled => {
            conn.roll_back_inbox(open);
            return match settled {
                Ok(_) => Attempt::LeaseLost,
                Err(error) => Attempt::Interrupted(error.into()),
            };
        }
    }
    let undone = match catch_unwind(AssertUnwindSafe(|| function(conn))) {
        Ok(Ok(())) => match conn.commit_marked(open, |conn| is_settled(conn, record)) {
            Ok(()) => return Attempt::Recorded,
            Err(error) => not_committed(error),
        },
        Ok(Err(error)) => {
            // Before any other statement on the connection: the server is asked for the error's number.
            let undone = of_function(conn, error);
            conn.end_inbox(open);
            undone
        }
        Err(panic) => {
            conn.end_inbox(open);
            Attempt::Failed(panicked(&*panic))
        }
    };
    // It is rolled back, so the row is settled only if something has committed it.
    let unsettled = match record {
        Some((token, row)) => conn.unsettle(CALLS, token, row),
        None => Ok(false),
    };
    match unsettled {
        Ok(true) => Attempt::TransactionMisuse(TransactionMisuse::Committed(match undone {
            Attempt::Failed(error) | Attempt::Interrupted(error) => Some(error),
            _ => None,
        })),
        Ok(false) | Err(_) => undone,
    }
}

fn is_settled<C: Backend>(conn: &mut C, record: Option<(Uuid, RowKey)>) -> QueryResult<bool> {
    record.map_or(Ok(true), |(_, row)| conn.is_settled(CALLS, row))
}

fn of_function<C: Backend>(conn: &mut C, error: BoxError) -> Attempt {
    let last = is_unknown(error.as_ref())
        .then(|| conn.last_error())
        .flatten();
    match fault(error.as_ref(), last.as_ref()) {
        Fault::Own => Attempt::Failed(error),
        Fault::Contention | Fault::Outage | Fault::ReadOnly => Attempt::Interrupted(error),
    }
}

fn not_committed(error: CommitError) -> Attempt {
    match error {
        // A deferred constraint that the function has violated shows at COMMIT, or before it.
        CommitError::Commit(error) | CommitError::Before(error) if is_violation(&error) => {
            Attempt::Failed(error.into())
        }
        CommitError::Commit(error) => Attempt::Interrupted(error.into()),
        CommitError::Before(error) if is_infrastructure(&error) => {
            Attempt::Interrupted(error.into())
        }
        CommitError::Before(error) => Attempt::Failed(TransactionMisuse::Aborted(error).into()),
        CommitError::Gone | CommitError::Ended => {
            Attempt::TransactionMisuse(TransactionMisuse::Ended)
        }
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
