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
//! | rows of the inbox | [`list_inbox`], [`show_inbox`] |
//! | parked rows | [`retry`], [`retry_all`], [`redirect`], [`skip`], [`delete`] |
//! | waiting rows | [`cancel`] |
//! | sent rows | [`resend`] |
//! | all rows that a filter accepts | [`matching`] |
//! | streams | [`streams`], [`pause_stream`], [`resume_stream`] |
//! | old rows | [`clean_outbox`], [`clean_inbox`] |
//! | function calls | [`Rows::Calls`] |
//! | messages that a subscriber could not handle | `dead_letters` (feature `stomp`) |
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use diesel::prelude::*;
//! use diesel_outbox::admin::{self, Action, Filter};
//! # use diesel_outbox::{Message, migrations::Migrate};
//! # let conn = &mut SqliteConnection::establish(":memory:")?;
//! # conn.migrate()?;
//! # Message::new("/queue/mail", 1).publish(conn)?;
//!
//! println!("{} rows wait", admin::status(conn)?.waiting);
//! // Retry what one broken consumer refused.
//! let filter = Filter::new().destination("/queue/mail").error("no such customer");
//! let parked = admin::matching(conn, Action::Retry, &filter)?;
//! println!("{} rows are parked", parked.rows());
//! parked.apply(conn, |changed| println!("{changed} rows wait again"))?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod change;
mod clean;
#[cfg(feature = "stomp")]
pub mod dead_letters;
mod error;
mod inbox;
mod kind;
mod matching;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod pooled;
mod redirect;
mod rows;
mod status;
mod streams;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod wording;

pub use change::{Changed, Unchanged, cancel, delete, resend, retry, retry_all, skip};
pub use clean::{clean_inbox, clean_outbox};
pub use error::AdminError;
pub use inbox::{InboxFilter, ReceivedDetails, ReceivedRow, list_inbox, show_inbox};
pub use kind::{Counts, Rows};
pub use matching::{Action, Matching, matching};
pub use redirect::redirect;
pub use rows::{Cursor, CursorError, Filter, Page, Row, RowDetails, RowState, list, show};
pub use status::{
    COUNT_LIMIT, LeaseHolder, NamedCount, Status, StreamStatus, Totals, UnclaimedCalls, status,
    totals,
};
pub use streams::{Stream, pause_stream, resume_stream, streams};
