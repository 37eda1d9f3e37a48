//! Operations on the outbox, the inbox and dead letters: what the program `outbox` does, as functions.
//!
//! The functions take a connection, or a pooled one. They run in the caller's transaction if one is open,
//! and change no setting of the session: a statement waits for a row that another session has locked as long
//! as the session's own limit says. On PostgreSQL [`in_schema`](crate::in_schema) and
//! [`set_schema`](crate::set_schema) decide which outbox is meant, as they do for
//! [`publish`](crate::publish()).
//!
//! | for | see |
//! | --- | --- |
//! | numbers | [`status`], [`totals`] |
//! | rows | [`list`], [`show`] |
//! | parked rows | [`retry`], [`retry_all`], [`skip`] |
//! | waiting rows | [`cancel`] |
//! | streams | [`streams`], [`pause_stream`], [`resume_stream`] |
//! | old rows | [`clean_outbox`], [`clean_inbox`] |
//! | function calls | [`Rows::Calls`] |
//! | messages that a subscriber could not handle | `dead_letters` (feature `stomp`) |
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use diesel::prelude::*;
//! use diesel_outbox::admin::{self, Filter, RowState};
//! # use diesel_outbox::{Message, migrations::Migrate};
//! # let conn = &mut SqliteConnection::establish(":memory:")?;
//! # conn.migrate()?;
//! # Message::new("/queue/mail", 1).publish(conn)?;
//!
//! println!("{} rows wait", admin::status(conn)?.waiting);
//! // Retry what one broken consumer refused.
//! let filter = Filter::new().state(RowState::Parked).destination("/queue/mail");
//! let mut after = None;
//! loop {
//!     let page = admin::list(conn, &filter, after.as_ref(), 100)?;
//!     admin::retry(conn, page.rows.iter().map(|row| &row.id))?;
//!     after = page.next;
//!     if after.is_none() {
//!         break;
//!     }
//! }
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod change;
mod clean;
#[cfg(feature = "stomp")]
pub mod dead_letters;
mod error;
mod kind;
mod rows;
mod status;
mod streams;

pub use change::{Changed, Unchanged, cancel, retry, retry_all, skip};
pub use clean::{clean_inbox, clean_outbox};
pub use error::AdminError;
pub use kind::{Counts, Rows};
pub use rows::{Cursor, Filter, Page, Row, RowDetails, RowState, list, show};
pub use status::{
    COUNT_LIMIT, LeaseHolder, NamedCount, Status, StreamStatus, Totals, status, totals,
};
pub use streams::{Stream, pause_stream, resume_stream, streams};
