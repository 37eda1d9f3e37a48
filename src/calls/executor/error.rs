//! Why an executor ended.

use crate::calls::registry::CallsError;
use crate::config::ConfigError;
use crate::db::{AddressError, DbError};
use crate::engine::unknown_stream::UnknownStream;

/// Why an executor ended without being stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database's address is not one of a database that this build supports.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The registry of functions has a mistake: see [`Calls::check`](crate::calls::Calls::check).
    #[error(transparent)]
    Calls(#[from] CallsError),
    /// A stream of the settings is unknown: no function has it, no row has it, and it was never paused or resumed.
    #[error(transparent)]
    UnknownStream(#[from] UnknownStream),
    /// The tables are missing or, if the executor was to run once, the database is not available.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl ExecutorError {
    /// Whether the settings or the registry are wrong.
    #[cfg(feature = "cli")]
    pub(crate) fn is_usage(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}
