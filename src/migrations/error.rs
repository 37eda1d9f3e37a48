//! Why the tables could not be created or removed.

use std::error::Error;

/// Why the tables could not be created or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database failed; migrations that were run before remain.
    #[error("the outbox's migrations failed: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// A table with this name exists, and neither this crate nor django-outbox-pattern 3.1 has created
    /// it. Nothing was changed.
    #[error("the table `{table}` exists already and {reason}; nothing was changed")]
    Foreign {
        /// The table.
        table: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Tables that Django created cannot be given back in their present state. Nothing was changed.
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
    /// On PostgreSQL, there is no schema for the tables. Nothing was changed.
    #[error("{0}; nothing was changed")]
    NoSchema(String),
    /// Other sessions used the tables for too long. What was done remains; run it again.
    #[error(
        "the tables are in use and could not be locked within {waited}: {source}; what was done stays, run it again"
    )]
    Busy {
        /// How long it waited.
        waited: &'static str,
        /// The database's error.
        source: diesel::result::Error,
    },
    /// The server has a time limit, and has ended a statement or the session at it. What was done before remains.
    #[error(
        "the outbox's migrations failed: {source}; the server's {setting} is {limit}: run it again with a higher \
         limit or without it, for example `PGOPTIONS='-c {setting}=0' outbox migrate`; what was done stays"
    )]
    TimeLimit {
        /// The setting.
        setting: &'static str,
        /// Its value.
        limit: String,
        /// The database's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A pooler has assigned another session of the server than the one that has the lock. What was done
    /// before remains.
    #[error(
        "a pooler in transaction mode is in front of the database, and migrations need a session of their own: \
         connect to the server itself; what was done stays, run it again there"
    )]
    Pooler,
    /// Another process has been migrating this database for ten minutes.
    #[error("another process has been migrating this database for ten minutes")]
    Locked,
}

impl From<diesel::result::Error> for MigrateError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl MigrateError {
    /// The error that Diesel's harness returns; it may be one of ours.
    pub(super) fn from_boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast() {
            Ok(ours) => *ours,
            Err(other) => Self::Refused(other),
        }
    }
}
