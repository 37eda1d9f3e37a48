//! Operations of `admin` on a connection of the pool, with the failures of commands.

use super::run::Failure;
use crate::admin::AdminError;
use crate::admin::pooled::{self, ChangedRows, PooledError, Read};
use crate::backend::{Backend, is_uuid};
use crate::db::Db;
use crate::terminal;

impl From<PooledError> for Failure {
    fn from(error: PooledError) -> Self {
        match error {
            PooledError::Admin(_) | PooledError::Refused { .. } => Self::usage(error),
            _ => Self::runtime(error),
        }
    }
}

/// Runs an operation; waits for locks as long as the database does.
pub(super) async fn run_on<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(pooled::read(db, work).await?)
}

/// [`run_on`], with the time by the clock of the database.
pub(super) async fn read_at<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<Read<T>, Failure> {
    Ok(pooled::read_at(db, work).await?)
}

/// Changes rows. Waits for the locks of other sessions for a limited time.
pub(super) async fn change<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    changed: &ChangedRows,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(pooled::change(db, changed, work).await?)
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
