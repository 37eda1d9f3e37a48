//! Lists and shows rows of the outbox.

use super::{AdminError, Rows};
use crate::backend::{AsBackend, Listing};

pub use crate::backend::lifecycle::{Cursor, CursorError, Filter, Row, RowDetails};
pub use crate::backend::row_state::RowState;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The rows, in the order of writing.
    pub rows: Vec<T>,
    /// Where the next page begins; none if this is the last one.
    pub next: Option<Cursor>,
}

/// Lists rows of the outbox, the oldest first: at most `limit` (at least 1), after the cursor of the page
/// before.
///
/// Rows that change, are written or are deleted between two pages change no other row's place: no row is
/// listed twice, and each row that meets the filter throughout is listed. Of rows in the states waiting,
/// leased and parked few are read besides those that are listed; the rows that were sent have no index for
/// this order on PostgreSQL.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, migrations::Migrate};
/// use diesel_outbox::admin::{self, Filter};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// for n in 0..3 {
///     Message::new("/queue/mail", n).publish(conn)?;
/// }
/// let first = admin::list(conn, &Filter::new(), None, 2)?;
/// assert_eq!(first.rows.len(), 2);
/// let second = admin::list(conn, &Filter::new(), first.next.as_ref(), 2)?;
/// assert_eq!(second.rows.len(), 1);
/// assert_eq!(second.next, None);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn list<C: AsBackend>(
    conn: &mut C,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Row>, AdminError> {
    Rows::Messages.list(conn, filter, after, limit)
}

/// Shows a row of the outbox with its headers and body. The id may be in any spelling. Returns none if there is
/// no such row.
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
/// let id = Message::new("/queue/mail", "hello").publish(conn)?;
/// let shown = admin::show(conn, id)?.ok_or("no such row")?;
/// assert_eq!(shown.body, "\"hello\"");
/// assert!(admin::show(conn, uuid::Uuid::nil())?.is_none());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn show<C: AsBackend>(
    conn: &mut C,
    id: impl ToString,
) -> Result<Option<RowDetails>, AdminError> {
    Rows::Messages.show(conn, id)
}

pub(super) fn list_of<C: AsBackend>(
    of: Rows,
    conn: &mut C,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Row>, AdminError> {
    let limit = limit.max(1);
    // One more shows whether there is a next page.
    let conn = conn.as_backend();
    let rows = conn.list(of.table(), filter, None, after, limit.saturating_add(1))?;
    Ok(page(rows, limit, Row::cursor))
}

/// The page of rows of which one more than `limit` was asked for.
pub(super) fn page<T>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> Cursor) -> Page<T> {
    let is_last = rows.len() <= limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| !is_last).map(cursor);
    Page { rows, next }
}

pub(super) fn show_of<C: AsBackend>(
    of: Rows,
    conn: &mut C,
    id: impl ToString,
) -> Result<Option<RowDetails>, AdminError> {
    let conn = conn.as_backend();
    Ok(conn.find(of.table(), &id.to_string())?)
}
