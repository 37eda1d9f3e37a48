//! Lists and shows rows of the inbox.

use super::rows::page;
use super::{AdminError, Cursor, Page};
use crate::backend::{AsBackend, InboxListing};

pub use crate::backend::inbox_listing::{InboxFilter, ReceivedDetails, ReceivedRow};

/// Lists rows of the inbox, the oldest first: at most `limit` (at least 1), after the cursor of the page before.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::admin::{self, InboxFilter};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let page = admin::list_inbox(conn, &InboxFilter::new().consumer("billing"), None, 50)?;
/// for row in &page.rows {
///     println!("{:?} at {}", row.message_id, row.handled_at);
/// }
/// assert_eq!(page.next, None);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn list_inbox<C: AsBackend>(
    conn: &mut C,
    filter: &InboxFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<ReceivedRow>, AdminError> {
    let limit = limit.max(1);
    let conn = conn.as_backend();
    // One more shows whether there is a next page.
    let rows = conn.list_received(filter, after, limit.saturating_add(1))?;
    Ok(page(rows, limit, ReceivedRow::cursor))
}

/// Shows the rows of the message with this id: one for each consumer that has handled it. Without such a message,
/// the row of the inbox that has this id itself, in any spelling.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// assert!(admin::show_inbox(conn, "order-7")?.is_empty(), "it was not handled");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn show_inbox<C: AsBackend>(
    conn: &mut C,
    id: impl ToString,
) -> Result<Vec<ReceivedDetails>, AdminError> {
    Ok(conn.as_backend().find_received(&id.to_string())?)
}
