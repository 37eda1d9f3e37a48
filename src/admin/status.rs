//! Numbers of the outbox and the inbox.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::AdminError;
use crate::backend::{AsBackend, Lifecycle, Maintenance, PUBLISHED};

/// What the outbox and the inbox hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Rows that wait to be sent, those under a lease included.
    pub waiting: i64,
    /// Of those, the ones that are not due: leased, delayed, or pausing after a failure.
    pub not_due: i64,
    /// Parked rows.
    pub parked: i64,
    /// Rows that were sent and not deleted yet.
    pub sent: i64,
    /// Messages in the inbox.
    pub received: i64,
    /// When the oldest waiting row was written.
    pub oldest_waiting: Option<DateTime<Utc>>,
    /// The paused streams, by name.
    pub paused_streams: Vec<String>,
}

/// Counts the rows of the outbox and the inbox, and lists the paused streams. It reads all rows.
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
/// Message::new("/queue/mail", 1).publish(conn)?;
/// let status = admin::status(conn)?;
/// assert_eq!((status.waiting, status.parked, status.sent), (1, 0, 0));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn status<C: AsBackend>(conn: &mut C) -> Result<Status, AdminError> {
    let conn = conn.as_backend();
    let rows = conn.count(PUBLISHED)?;
    Ok(Status {
        waiting: rows.waiting,
        not_due: rows.not_due,
        parked: rows.parked,
        sent: rows.succeeded,
        received: conn.count_received()?,
        oldest_waiting: rows.oldest_waiting,
        paused_streams: conn.paused_streams()?,
    })
}
