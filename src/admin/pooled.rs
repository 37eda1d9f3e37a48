//! Operations on a connection of a pool of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::AdminError;
use crate::backend::Backend;
use crate::db::{Db, DbError, is_contention};

/// Maximum wait for a row that another session has locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Why an operation on a connection of a pool failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PooledError {
    /// There is no connection, or a statement failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The operation is not possible.
    #[error(transparent)]
    Admin(AdminError),
    /// A change failed because other sessions have locked the rows.
    #[error(
        "{changed}: another database session has locked the rows for more than {} s; end that session, or try again \
         ({source})",
        LOCK_PATIENCE.as_secs()
    )]
    Locked {
        changed: ChangedRows,
        source: diesel::result::Error,
    },
    /// A change failed after it had changed some rows.
    #[error("{changed}: {source}")]
    Interrupted {
        changed: ChangedRows,
        source: DbError,
    },
    /// A change is not possible.
    #[error("{changed}: {source}")]
    Refused {
        changed: ChangedRows,
        source: AdminError,
    },
}

/// How many rows a change has changed so far. Clones share the number; its text says what was changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangedRows(Arc<AtomicU64>);

impl ChangedRows {
    pub(crate) fn set(&self, rows: u64) {
        self.0.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for ChangedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            0 => f.write_str("nothing was changed"),
            rows => write!(f, "{rows} rows were changed, the others were not"),
        }
    }
}

/// Something that was read, and when, by the clock of the database.
#[derive(Debug, Clone)]
pub(crate) struct Read<T> {
    pub(crate) now: DateTime<Utc>,
    pub(crate) found: T,
}

/// Reads, with the time by the clock of the database.
pub(crate) async fn read_at<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<Read<T>, PooledError> {
    read(db, |conn: &mut C| {
        let now = conn.now()?;
        let found = work(conn)?;
        Ok(Read { now, found })
    })
    .await
}

/// Runs an operation; waits for locks as long as the database does.
pub(crate) async fn read<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, PooledError> {
    attempt(db, work).await?.map_err(PooledError::Admin)
}

/// Changes rows. Waits for the locks of other sessions for [`LOCK_PATIENCE`].
pub(crate) async fn change<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    changed: &ChangedRows,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, PooledError> {
    let work = move |conn: &mut C| {
        conn.wait_for_locks(LOCK_PATIENCE)?;
        work(conn)
    };
    let changed = changed.clone();
    match attempt(db, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(PooledError::Refused { changed, source }),
        Err(DbError::Statement(source)) if is_contention(&source) => {
            Err(PooledError::Locked { changed, source })
        }
        Err(source) if changed.get() > 0 => Err(PooledError::Interrupted { changed, source }),
        Err(other) => Err(other.into()),
    }
}

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
