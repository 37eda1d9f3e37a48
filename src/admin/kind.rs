//! Messages and function calls, which have the same operations.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::rows::{Cursor, Filter, Page, Row, RowDetails};
use super::{Action, AdminError, Changed, Matching, Status, change, clean, rows, status};
use crate::backend::{
    AsBackend, CALLS, Dialect, Lifecycle, LifecycleTable, Listing, PUBLISHED, Storage, Table,
};

/// Which rows an operation is on: messages of the outbox, or function calls.
///
/// The functions of this module with the names of these methods are on messages. Of a call, the
/// [`destination`](Row::destination) is the name of the function, the [`body`](RowDetails::body) its arguments (empty
/// if they are not in JSON), and [`sent_at`](Row::sent_at) the time of its execution.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::prelude::*;
/// use diesel_outbox::admin::{Filter, Rows};
/// use diesel_outbox::prelude::*;
/// # use diesel_outbox::migrations::Migrate;
///
/// #[outboxed]
/// fn charge(conn: &mut SqliteConnection, order: i64) {}
///
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = charge::later(conn, 7)?;
/// assert_eq!(Rows::Calls.count(conn)?.waiting, 1);
/// let page = Rows::Calls.list(conn, &Filter::new().destination("charge"), None, 10)?;
/// assert_eq!(page.rows[0].id, id.to_string());
/// assert_eq!(Rows::Calls.cancel(conn, [id])?.rows, 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rows {
    /// Messages of the outbox.
    Messages,
    /// Function calls.
    Calls,
}

/// How many rows are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Rows that wait, those under a lease included.
    pub waiting: i64,
    /// Of those, the ones that are not due: leased, delayed, or pausing after a failure.
    pub not_due: i64,
    /// Parked rows.
    pub parked: i64,
    /// Rows that were sent or executed, and not deleted yet.
    pub done: i64,
    /// When the oldest waiting row was written.
    pub oldest_waiting: Option<DateTime<Utc>>,
}

impl Rows {
    /// Function calls, or messages.
    #[cfg(feature = "cli")]
    pub(crate) fn of(calls: bool) -> Self {
        if calls { Self::Calls } else { Self::Messages }
    }

    pub(crate) fn table(self) -> LifecycleTable {
        match self {
            Self::Messages => PUBLISHED,
            Self::Calls => CALLS,
        }
    }

    /// Counts the rows that are not settled, as [`status`](super::status()) does.
    ///
    /// # Errors
    ///
    /// As [`status`](super::status()).
    pub fn status<C: AsBackend>(self, conn: &mut C) -> Result<Status, AdminError> {
        status::status_of(self.table(), conn)
    }

    /// Counts the rows. It reads all of them; [`status`](Self::status) does not.
    ///
    /// # Errors
    ///
    /// If the database fails, or the tables are missing.
    pub fn count<C: AsBackend>(self, conn: &mut C) -> Result<Counts, AdminError> {
        let rows = conn.as_backend().count(self.table())?;
        Ok(Counts {
            waiting: rows.waiting,
            not_due: rows.not_due,
            parked: rows.parked,
            done: rows.succeeded,
            oldest_waiting: rows.oldest_waiting,
        })
    }

    /// Lists rows, as [`list`](super::list()) does.
    ///
    /// # Errors
    ///
    /// As [`list`](super::list()).
    pub fn list<C: AsBackend>(
        self,
        conn: &mut C,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row>, AdminError> {
        rows::list_of(self, conn, filter, after, limit)
    }

    /// Lists rows that were sent or executed, those that were written last first: at most `limit` (at least 1), after
    /// the cursor of the page before.
    ///
    /// It reads the rows along an index on the time of writing. Without a filter it reads no more than it lists.
    ///
    /// # Errors
    ///
    /// If the database fails, or the tables are missing.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use diesel::prelude::*;
    /// # use diesel_outbox::migrations::Migrate;
    /// use diesel_outbox::admin::{Filter, Rows};
    /// # let conn = &mut SqliteConnection::establish(":memory:")?;
    /// # conn.migrate()?;
    /// let latest = Rows::Messages.list_done(conn, &Filter::new(), None, 10)?;
    /// assert!(latest.rows.is_empty(), "nothing was sent yet");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list_done<C: AsBackend>(
        self,
        conn: &mut C,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row>, AdminError> {
        let limit = limit.max(1);
        let conn = conn.as_backend();
        // One more shows whether there is a next page.
        let rows = conn.list_succeeded(self.table(), filter, after, limit.saturating_add(1))?;
        Ok(rows::page(rows, limit, Row::cursor_by_time))
    }

    /// Shows a row, as [`show`](super::show()) does.
    ///
    /// # Errors
    ///
    /// As [`show`](super::show()).
    pub fn show<C: AsBackend>(
        self,
        conn: &mut C,
        id: impl ToString,
    ) -> Result<Option<RowDetails>, AdminError> {
        rows::show_of(self, conn, id)
    }

    /// Changes rows by their ids: the same as [`retry`](super::retry()), [`cancel`](super::cancel()),
    /// [`skip`](super::skip()), [`resend`](super::resend()) or [`delete`](super::delete()).
    ///
    /// # Errors
    ///
    /// As [`retry`](super::retry()).
    pub fn act<C: AsBackend>(
        self,
        conn: &mut C,
        action: Action,
        ids: impl IntoIterator<Item = impl ToString>,
    ) -> Result<Changed, AdminError> {
        let table = self.table();
        change::change(self, conn, ids, |conn, id| {
            Ok(conn.act(table, action, &[id])?)
        })
    }

    /// Counts the rows that a filter accepts and that can be changed, as [`matching`](super::matching()) does.
    ///
    /// # Errors
    ///
    /// As [`matching`](super::matching()).
    pub fn matching<C: AsBackend>(
        self,
        conn: &mut C,
        action: Action,
        filter: &Filter,
    ) -> Result<Matching, AdminError> {
        Matching::count(self, conn, action, filter)
    }

    /// Makes parked rows wait again, as [`retry`](super::retry()) does.
    ///
    /// # Errors
    ///
    /// As [`retry`](super::retry()).
    pub fn retry<C: AsBackend>(
        self,
        conn: &mut C,
        ids: impl IntoIterator<Item = impl ToString>,
    ) -> Result<Changed, AdminError> {
        self.act(conn, Action::Retry, ids)
    }

    /// Makes all parked rows wait again, as [`retry_all`](super::retry_all()) does.
    ///
    /// # Errors
    ///
    /// As [`retry_all`](super::retry_all()).
    pub fn retry_all<C: AsBackend>(self, conn: &mut C) -> Result<usize, AdminError> {
        let retried = conn.as_backend().atomically(|conn| {
            // No ids mean all parked rows.
            let retried = conn.retry::<String>(self.table(), &[])?;
            if retried > 0 {
                conn.notify()?;
            }
            Ok::<_, diesel::result::Error>(retried)
        })?;
        Ok(retried)
    }

    /// Parks waiting rows, as [`cancel`](super::cancel()) does.
    ///
    /// # Errors
    ///
    /// As [`cancel`](super::cancel()).
    pub fn cancel<C: AsBackend>(
        self,
        conn: &mut C,
        ids: impl IntoIterator<Item = impl ToString>,
    ) -> Result<Changed, AdminError> {
        self.act(conn, Action::Cancel, ids)
    }

    /// Unblocks the keys of parked rows, as [`skip`](super::skip()) does.
    ///
    /// # Errors
    ///
    /// As [`skip`](super::skip()).
    pub fn skip<C: AsBackend>(
        self,
        conn: &mut C,
        ids: impl IntoIterator<Item = impl ToString>,
    ) -> Result<Changed, AdminError> {
        self.act(conn, Action::Skip, ids)
    }

    /// Deletes rows that were sent or executed longer ago than `older_than`, as
    /// [`clean_outbox`](super::clean_outbox()) does.
    ///
    /// # Errors
    ///
    /// As [`clean_outbox`](super::clean_outbox()).
    pub fn clean<C: AsBackend>(
        self,
        conn: &mut C,
        older_than: Duration,
    ) -> Result<usize, AdminError> {
        let table = match self {
            Self::Messages => Table::Published,
            Self::Calls => Table::Calls,
        };
        clean::clean(conn, &[table], older_than)
    }
}
