//! Why the tables could not be made or removed.

use std::error::Error;

/// Why the tables could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database refused; migrations run before stay.
    #[error("the outbox's migrations failed: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// A table of that name is there, and neither this crate nor django-outbox-pattern 3.1 has made
    /// it. Nothing was changed.
    #[error("the table `{table}` is there already and {reason}; nothing was changed")]
    Foreign {
        /// The table.
        table: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Tables that Django made cannot be given back as they are now. Nothing was changed.
    #[error("Django's tables cannot be given back: {0}; nothing was changed")]
    NotRestorable(String),
    /// Rows wait, are leased by a relay or are parked, and would be deleted. Nothing was changed.
    #[error(
        "the outbox has rows that were not sent: {waiting} waiting, {leased} leased by a relay, {parked} parked. Reverting deletes them: send them first (`publish --once`, `outbox retry`), or force it (`--force`); nothing was changed"
    )]
    Unsent {
        /// Rows that wait to be sent.
        waiting: i64,
        /// Rows under the lease of a relay.
        leased: i64,
        /// Rows that are parked.
        parked: i64,
    },
    /// There is no schema for the tables, on PostgreSQL. Nothing was changed.
    #[error("{0}; nothing was changed")]
    NoSchema(String),
    /// Somebody else held the tables for too long. What was done stays; run it again.
    #[error(
        "the tables are in use and were not to be had in {waited}: {source}; what was done stays, run it again"
    )]
    Busy {
        /// How long was waited.
        waited: &'static str,
        /// The database's words.
        source: diesel::result::Error,
    },
    /// Another process has been migrating this database for ten minutes.
    #[error("another process has been migrating this database for ten minutes")]
    Locked,
}

impl From<diesel::result::Error> for MigrateError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Refused(error.into())
    }
}
