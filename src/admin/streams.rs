//! Lists, pauses and resumes streams.

use std::collections::HashSet;

use super::AdminError;
use crate::backend::{AsBackend, Dialect, Maintenance, Storage};
use crate::column_widths;

/// A stream: a named part of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Whether it is paused: no relay sends its messages, and no executor executes its calls.
    pub is_paused: bool,
}

/// Lists the streams by name: those of the oldest 100,000 rows that wait, and those that a relay has used or that were
/// paused or resumed.
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
/// Message::new("/queue/mail", 1).stream("mail").publish(conn)?;
/// admin::pause_stream(conn, "reports")?;
/// let streams = admin::streams(conn)?;
/// let streams: Vec<_> = streams.iter().map(|it| (it.name.as_str(), it.is_paused)).collect();
/// assert_eq!(streams, [("mail", false), ("reports", true)]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn streams<C: AsBackend>(conn: &mut C) -> Result<Vec<Stream>, AdminError> {
    let conn = conn.as_backend();
    let paused: HashSet<String> = conn.paused_streams()?.into_iter().collect();
    let streams = conn.streams()?.into_iter().map(|name| Stream {
        is_paused: paused.contains(&name),
        name,
    });
    Ok(streams.collect())
}

/// Pauses a stream, which need not have rows yet: no relay sends its messages, and no executor executes its
/// calls. Rows that were leased before are sent or executed.
///
/// # Errors
///
/// If the name is invalid, the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// admin::pause_stream(conn, "mail")?;
/// assert_eq!(admin::status(conn)?.paused_streams, ["mail"]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pause_stream<C: AsBackend>(conn: &mut C, name: &str) -> Result<(), AdminError> {
    set_paused(conn, name, true)
}

/// Resumes a stream: its messages are sent and its calls executed again.
///
/// # Errors
///
/// If the name is invalid, the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// admin::pause_stream(conn, "mail")?;
/// admin::resume_stream(conn, "mail")?;
/// assert!(admin::status(conn)?.paused_streams.is_empty());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resume_stream<C: AsBackend>(conn: &mut C, name: &str) -> Result<(), AdminError> {
    set_paused(conn, name, false)
}

fn set_paused<C: AsBackend>(conn: &mut C, name: &str, paused: bool) -> Result<(), AdminError> {
    let is_too_long = name.chars().count() > column_widths::STREAM;
    if name.is_empty() || is_too_long || name.contains('\0') {
        return Err(AdminError::StreamName);
    }
    conn.as_backend().atomically(|conn| {
        conn.pause_stream(name, paused)?;
        if !paused {
            conn.notify()?;
        }
        Ok::<_, diesel::result::Error>(())
    })?;
    Ok(())
}
