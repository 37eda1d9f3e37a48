//! Retries, cancels, skips, resends and deletes rows of the outbox that are named by their ids.

use std::collections::HashSet;
use std::fmt;

use super::{Action, AdminError, RowState, Rows};
use crate::backend::{AsBackend, Dialect, Lifecycle, Storage};

/// The result of a change to rows that were named by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changed {
    /// How many rows were changed.
    pub rows: usize,
    /// The ids whose rows were not changed, in the order in which they were given.
    pub unchanged: Vec<Unchanged>,
}

/// An id whose row was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unchanged {
    /// The id as it was given.
    pub id: String,
    /// The state of its row, which does not allow the change; none if there is no such row.
    pub state: Option<RowState>,
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            Some(state) => write!(f, "`{}` ({state})", self.id),
            None => write!(f, "`{}` (no row has this id)", self.id),
        }
    }
}

/// Makes parked rows wait again, with all their attempts. Their ids may be in any spelling. All rows are
/// changed in one transaction; a row that is not parked is left as it is, and returned as such.
///
/// # Errors
///
/// If the database fails, or the tables are missing. Nothing was changed then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).publish(conn)?;
/// admin::cancel(conn, [id])?;
/// assert_eq!(admin::retry(conn, [id])?.rows, 1);
/// // It waits now.
/// let again = admin::retry(conn, [id])?;
/// assert_eq!(again.unchanged[0].state, Some(admin::RowState::Waiting));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retry<C: AsBackend>(
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    Rows::Messages.retry(conn, ids)
}

/// Makes all parked rows wait again, with all their attempts. Returns their number.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).publish(conn)?;
/// admin::cancel(conn, [id])?;
/// assert_eq!(admin::retry_all(conn)?, 1);
/// assert_eq!(admin::retry_all(conn)?, 0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retry_all<C: AsBackend>(conn: &mut C) -> Result<usize, AdminError> {
    Rows::Messages.retry_all(conn)
}

/// Parks waiting rows with the reason `cancelled`, so that they are not sent; [`retry`] sends them after all.
/// Their ids may be in any spelling. All rows are changed in one transaction; a row that does not wait or that
/// is leased is left as it is, and returned as such.
///
/// # Errors
///
/// If the database fails, or the tables are missing. Nothing was changed then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).publish(conn)?;
/// let cancelled = admin::cancel(conn, [id.to_string().as_str(), "4711"])?;
/// assert_eq!(cancelled.rows, 1);
/// assert_eq!(cancelled.unchanged[0].to_string(), "`4711` (no row has this id)");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cancel<C: AsBackend>(
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    Rows::Messages.cancel(conn, ids)
}

/// Unblocks the keys of parked rows: the later rows of a key are sent, and the rows stay parked. Their ids may
/// be in any spelling. All rows are changed in one transaction; a row that is not parked is left as it is, and
/// returned as such.
///
/// # Errors
///
/// If the database fails, or the tables are missing. Nothing was changed then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).key("order 7".to_owned()).publish(conn)?;
/// assert_eq!(admin::skip(conn, [id])?.unchanged.len(), 1, "it is not parked");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn skip<C: AsBackend>(
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    Rows::Messages.skip(conn, ids)
}

/// Sends rows a second time that were sent: they wait again, with the same ids. A receiver with an inbox recognises
/// the second message as a duplicate, as long as it has the row of the first one; without an inbox it has its
/// effect twice. Later rows of their keys are not sent again, and wait while these are sent. Their ids may be in
/// any spelling. All rows are changed in one transaction; a row that was not sent is left as it is, and returned
/// as such.
///
/// # Errors
///
/// If the database fails, or the tables are missing. Nothing was changed then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).publish(conn)?;
/// assert_eq!(admin::resend(conn, [id])?.unchanged.len(), 1, "it was not sent yet");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resend<C: AsBackend>(
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    Rows::Messages.act(conn, Action::Resend, ids)
}

/// Deletes parked rows; cancelled and expired ones are parked. Their messages are lost. Their ids may be in any
/// spelling. All rows are deleted in one transaction; a row that is not parked is left as it is, and returned as
/// such.
///
/// # Errors
///
/// If the database fails, or the tables are missing. Nothing was deleted then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mail", 1).publish(conn)?;
/// admin::cancel(conn, [id])?;
/// assert_eq!(admin::delete(conn, [id])?.rows, 1);
/// assert!(admin::show(conn, id)?.is_none());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn delete<C: AsBackend>(
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    Rows::Messages.act(conn, Action::Delete, ids)
}

/// Changes the rows with these ids, each id once, in one transaction.
pub(super) fn change<C: AsBackend>(
    of: Rows,
    conn: &mut C,
    ids: impl IntoIterator<Item = impl ToString>,
    change_one: impl Fn(&mut C::Connection, &str) -> Result<usize, AdminError>,
) -> Result<Changed, AdminError> {
    let mut seen = HashSet::new();
    let ids: Vec<String> = ids
        .into_iter()
        .map(|id| id.to_string())
        .filter(|id| seen.insert(id.clone()))
        .collect();
    conn.as_backend().atomically(|conn| {
        let mut changed = Changed::default();
        for id in ids {
            match change_one(conn, &id)? {
                0 => {
                    let state = conn.state(of.table(), &id)?;
                    changed.unchanged.push(Unchanged { id, state });
                }
                rows => changed.rows += rows,
            }
        }
        if changed.rows > 0 {
            conn.notify()?;
        }
        Ok(changed)
    })
}
