//! Changes all rows that a filter accepts.

use super::redirect::{check_destination, redirect_rows};
use super::{AdminError, Cursor, Filter, Row, Rows};
use crate::backend::{AsBackend, Dialect, Listing, RowKey, Selection, Storage};

pub use crate::backend::lifecycle::Action;

/// Rows in one transaction: few enough to hold locks only for a short time.
const BATCH: usize = 500;

/// The rows that a filter accepts and that can be changed, counted before anything is done: see [`matching`].
#[derive(Debug, Clone)]
pub struct Matching {
    of: Rows,
    action: Action,
    filter: Filter,
    rows: u64,
    /// The `seq` of the last one when they were counted.
    last: Option<i64>,
    destination: Option<String>,
}

/// Counts the rows of the outbox that a filter accepts and whose state allows a change: parked rows for
/// [`Retry`](Action::Retry), [`Skip`](Action::Skip) and [`Delete`](Action::Delete), rows that wait and are not leased
/// for [`Cancel`](Action::Cancel), and sent rows for [`Resend`](Action::Resend). [`Matching::apply`] changes them.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, migrations::Migrate};
/// use diesel_outbox::admin::{self, Action, Filter};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// for n in 0..3 {
///     Message::new("/queue/mail", n).publish(conn)?;
/// }
/// let waiting = admin::matching(conn, Action::Cancel, &Filter::new().destination("/queue/mail"))?;
/// assert_eq!(waiting.rows(), 3);
/// assert_eq!(waiting.first(conn, 2)?.len(), 2);
/// assert_eq!(waiting.apply(conn, |_| {})?, 3);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn matching<C: AsBackend>(
    conn: &mut C,
    action: Action,
    filter: &Filter,
) -> Result<Matching, AdminError> {
    Rows::Messages.matching(conn, action, filter)
}

impl Matching {
    pub(super) fn count<C: AsBackend>(
        of: Rows,
        conn: &mut C,
        action: Action,
        filter: &Filter,
    ) -> Result<Self, AdminError> {
        let selected = conn
            .as_backend()
            .count_selected(of.table(), filter, action)?;
        Ok(Self {
            of,
            action,
            filter: filter.clone(),
            rows: u64::try_from(selected.n).unwrap_or(0),
            last: selected.last_seq,
            destination: None,
        })
    }

    /// The number of rows when they were counted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Gives rows that are retried another destination, as [`redirect`](super::redirect()) does.
    ///
    /// # Errors
    ///
    /// [`AdminError::Destination`] if no row can have this destination, and [`AdminError::NotRedirectable`] for
    /// function calls, or for another action than [`Retry`](Action::Retry).
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use diesel::prelude::*;
    /// # use diesel_outbox::{Message, migrations::Migrate};
    /// use diesel_outbox::admin::{self, Action, Filter};
    /// # let conn = &mut SqliteConnection::establish(":memory:")?;
    /// # conn.migrate()?;
    /// # let id = Message::new("/queue/mial", 1).publish(conn)?;
    /// # admin::cancel(conn, [id])?;
    /// let misspelt = Filter::new().destination("/queue/mial");
    /// let misspelt = admin::matching(conn, Action::Retry, &misspelt)?.redirected_to("/queue/mail")?;
    /// assert_eq!(misspelt.apply(conn, |_| {})?, 1);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redirected_to(mut self, destination: impl Into<String>) -> Result<Self, AdminError> {
        if (self.of, self.action) != (Rows::Messages, Action::Retry) {
            return Err(AdminError::NotRedirectable);
        }
        let destination = destination.into();
        check_destination(&destination)?;
        self.destination = Some(destination);
        Ok(self)
    }

    /// Reads the first of these rows, at most `limit`, as they are now.
    ///
    /// # Errors
    ///
    /// If the database fails, or the tables are missing.
    pub fn first<C: AsBackend>(&self, conn: &mut C, limit: usize) -> Result<Vec<Row>, AdminError> {
        let conn = conn.as_backend();
        let action = Some(self.action);
        Ok(conn.list(self.of.table(), &self.filter, action, None, limit)?)
    }

    /// Changes the rows, in the order of writing. Returns how many were changed. A row that the filter does not accept
    /// any more, or whose state has changed, is left as it is. Rows that were written after the last one that
    /// was counted are left too.
    ///
    /// It changes 500 rows at a time, each time in a transaction of its own, so that locks are short; if the caller
    /// has a transaction open, all of them are in that one. `changed` is called after each of these transactions
    /// with the number of rows that are changed by then.
    ///
    /// # Errors
    ///
    /// If the database fails; the transactions before stay. If a signed row cannot get another destination:
    /// [`redirect`](super::redirect()).
    pub fn apply<C: AsBackend>(
        &self,
        conn: &mut C,
        mut changed: impl FnMut(u64),
    ) -> Result<u64, AdminError> {
        let conn = conn.as_backend();
        let table = self.of.table();
        let (mut total, mut after) = (0, None::<Cursor>);
        let Some(last) = self.last else {
            return Ok(0);
        };
        loop {
            let rows = conn.next_selected(
                table,
                &self.filter,
                self.action,
                after.as_ref(),
                last,
                BATCH,
            )?;
            let Some(end) = rows.last() else {
                return Ok(total);
            };
            after = Some(Cursor {
                seq: end.seq,
                id: end.id.to_string(),
            });
            let done = conn.atomically(|conn| self.change(conn, &rows))?;
            total += done as u64;
            changed(total);
        }
    }

    /// Changes some of the rows.
    fn change<C: AsBackend>(&self, conn: &mut C, rows: &[RowKey]) -> Result<usize, AdminError> {
        let conn = conn.as_backend();
        let done = match &self.destination {
            Some(destination) => redirect_rows(conn, &self.filter, rows, destination)?,
            None => conn.act_on(self.of.table(), &self.filter, self.action, rows)?,
        };
        if done > 0 {
            conn.notify()?;
        }
        Ok(done)
    }
}
