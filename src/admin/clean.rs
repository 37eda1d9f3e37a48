//! Deletes old rows.

use std::time::Duration;

use super::{AdminError, Rows};
use crate::backend::{AsBackend, Maintenance, Table};

/// Rows in one DELETE: few enough to hold locks only for a short time.
const BATCH: i64 = 1_000;

/// Deletes rows of the outbox that were sent longer ago than `older_than`, and returns their number. Waiting
/// and parked rows are never deleted.
///
/// It deletes in batches, each in a transaction of its own, so that locks are short; if the caller has a
/// transaction open, all of them are in that one. Rows that another session has locked are left.
///
/// # Errors
///
/// If the database fails, or the tables are missing. The batches before stay deleted.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # use std::time::Duration;
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let week = Duration::from_secs(7 * 24 * 3600);
/// assert_eq!(admin::clean_outbox(conn, week)?, 0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn clean_outbox<C: AsBackend>(conn: &mut C, older_than: Duration) -> Result<usize, AdminError> {
    Rows::Messages.clean(conn, older_than)
}

/// Deletes rows of the inbox that are older than `older_than`, and returns their number. Counts of redelivered
/// messages of that age are deleted too.
///
/// A message that is redelivered after its row was deleted has its effect twice: brokers may redeliver hours
/// after a lost connection. The batches are those of [`clean_outbox`].
///
/// # Errors
///
/// If the database fails, or the tables are missing. The batches before stay deleted.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # use std::time::Duration;
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let month = Duration::from_secs(30 * 24 * 3600);
/// assert_eq!(admin::clean_inbox(conn, month)?, 0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn clean_inbox<C: AsBackend>(conn: &mut C, older_than: Duration) -> Result<usize, AdminError> {
    let tables = [Table::Received, Table::Deliveries];
    clean(conn, &tables, older_than)
}

/// Deletes the rows of some tables. Rows that reach this age in the meantime are left, so that it ends.
/// Counts of redelivered messages are not counted.
pub(super) fn clean<C: AsBackend>(
    conn: &mut C,
    tables: &[Table],
    older_than: Duration,
) -> Result<usize, AdminError> {
    let conn = conn.as_backend();
    let until = conn.ago(older_than)?;
    let mut rows = 0;
    for table in tables.iter().copied() {
        loop {
            let deleted = conn.delete_until(table, until, BATCH)?;
            if table != Table::Deliveries {
                rows += deleted;
            }
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(rows)
}
