//! Why work on the database was not done.

use std::time::Duration;

use super::ConnectError;
use crate::backend::{
    MissingRights, RowSecurity, TooOld, Unsuitable, is_contention, is_infrastructure,
    is_of_a_connection, is_refusal,
};

/// Why work on the database was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// No connection could be opened in time: the server does not respond or refuses the login.
    #[error("no connection to the database: {0}")]
    Connection(#[source] r2d2::Error),
    /// A connection beside the pool could not be opened.
    #[error("no connection to the database: {0}")]
    Connect(#[from] ConnectError),
    /// The database did not answer in time. Whether the work was done is unknown.
    #[error("no answer from the database within {after:?}; the connection is abandoned")]
    Silent {
        /// The time limit.
        after: Duration,
    },
    /// A statement failed.
    #[error("database error: {}", crate::terminal::one_line(&.0.to_string()))]
    Statement(#[from] diesel::result::Error),
    /// A table is missing, or has another shape.
    #[error(
        "the outbox's tables are missing or out of date{place}: run `outbox migrate` on this database ({source})"
    )]
    Tables {
        /// The schema in which they were searched for, and other schemas that have an outbox.
        place: String,
        /// The database's error.
        source: diesel::result::Error,
    },
    /// The database user lacks rights on the tables.
    #[error(
        "the database user lacks rights on the outbox's tables{place}: grant it SELECT, INSERT, UPDATE and DELETE on them, and on PostgreSQL USAGE on their schema ({source})"
    )]
    Rights {
        /// The schema that they are in.
        place: String,
        /// The database's error.
        source: diesel::result::Error,
    },
    /// The database user lacks rights that this program needs besides reading.
    #[error(transparent)]
    MissingRights(#[from] MissingRights),
    /// Row-level security hides all rows of a table from the database user.
    #[error(transparent)]
    RowSecurity(#[from] RowSecurity),
    /// The server is older than the outbox requires.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The server, or a pooler in front of it, does not suit this program with its settings.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// The work panicked, or no thread could be started for it.
    #[error("the work on the database was not finished")]
    Panicked,
    /// The work panicked or was abandoned because the runtime stops.
    #[error("the work on the database was not finished: {0}")]
    Unfinished(#[from] tokio::task::JoinError),
}

impl DbError {
    /// Whether the database is unreachable and may come back. A refused login or a database that does
    /// not exist is an error in the settings.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Connection(error) => !is_refusal(&error.to_string()),
            Self::Connect(error) => !is_refusal(&error.to_string()),
            Self::Silent { .. } => true,
            Self::Statement(error) => is_infrastructure(error),
            Self::Tables { .. }
            | Self::Rights { .. }
            | Self::MissingRights(_)
            | Self::RowSecurity(_)
            | Self::TooOld(_)
            | Self::Unsuitable(_)
            | Self::Panicked
            | Self::Unfinished(_) => false,
        }
    }

    /// Whether it waited only for connections that are in use here.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_busy())
    }

    /// Whether the connection was lost while a statement ran.
    pub(crate) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Statement(error) if is_of_a_connection(error))
    }

    /// Whether the database works, and another transaction was in the way.
    pub(crate) fn is_contention(&self) -> bool {
        matches!(self, Self::Statement(error) if is_contention(error))
    }
}
