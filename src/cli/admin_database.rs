//! Operations of `admin` on a connection of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::run::Failure;
use crate::admin::AdminError;
use crate::backend::{Backend, is_uuid};
use crate::db::{Db, DbError, is_contention};
use crate::terminal;

/// Runs an operation on a connection of the pool.
async fn attempt<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<Result<T, AdminError>, DbError> {
    // The pool checks its connection after a failed statement.
    let work = move |conn: &mut C| match work(conn) {
        Err(AdminError::Database(error) | AdminError::Tables(error)) => Err(error),
        other => Ok(other),
    };
    db.run(work).await
}

/// Runs an operation; waits for locks as long as the database does.
pub(super) async fn run_on<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    attempt(db, work).await?.map_err(Failure::usage)
}

/// Maximum wait for a row that another session has locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How many rows a change has changed so far.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangedRows(Arc<AtomicU64>);

impl ChangedRows {
    pub(super) fn set(&self, rows: u64) {
        self.0.store(rows, Ordering::Relaxed);
    }

    /// What an error says about them.
    fn so_far(&self) -> String {
        match self.0.load(Ordering::Relaxed) {
            0 => "nothing was changed".to_owned(),
            rows => format!("{rows} rows were changed, the others were not"),
        }
    }
}

/// Changes rows. Waits for the locks of other sessions for [`LOCK_PATIENCE`].
pub(super) async fn change<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    changed: &ChangedRows,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    let work = move |conn: &mut C| {
        conn.wait_for_locks(LOCK_PATIENCE)?;
        work(conn)
    };
    let outcome = attempt(db, work).await.map_err(|error| match error {
        DbError::Statement(error) if is_contention(&error) => Failure::runtime(format!(
            "{}: another database session has locked the rows for more than {} s; \
             end that session, or try again ({error})",
            changed.so_far(),
            LOCK_PATIENCE.as_secs()
        )),
        other if changed.0.load(Ordering::Relaxed) > 0 => {
            Failure::runtime(format!("{}: {other}", changed.so_far()))
        }
        other => other.into(),
    })?;
    outcome.map_err(|error| Failure::usage(format!("{}: {error}", changed.so_far())))
}

/// The error for an id that is not a UUID and not found. A row may have an id of any form, but such an id is
/// more likely a mistake.
pub(super) fn not_an_id(id: &str) -> Failure {
    Failure::usage(format!(
        "`{}` is neither a UUID nor the id of a row",
        terminal::escaped(id)
    ))
}

/// The error for ids that no row has. The id of a message in the inbox may have any form.
pub(super) fn no_such_row(ids: &[&str], in_inbox: bool) -> Failure {
    if let ([id], false) = (ids, in_inbox)
        && !is_uuid(id)
    {
        return not_an_id(id);
    }
    let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
    Failure::runtime(format!("no row has the id {}", ids.join(", ")))
}
