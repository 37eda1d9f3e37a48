//! Why a relay ended.

use crate::config::ConfigError;
use crate::db::{AddressError, DbError, PoolTooSmall};
use crate::engine::unknown_stream::UnknownStream;
use crate::stomp;

/// Why a relay ended without being stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database's address is not one of a database that this build supports.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The service's pool has room for too few connections.
    #[error(transparent)]
    Pool(#[from] PoolTooSmall),
    /// The broker's address is invalid.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// A stream of the settings is unknown.
    #[error(transparent)]
    UnknownStream(#[from] UnknownStream),
    /// The broker refused the connection or, if the relay was to run once, is not available.
    #[error("the broker: {0}")]
    Broker(#[source] stomp::Error),
    /// The tables are missing or, if the relay was to run once, the database is not available.
    #[error(transparent)]
    Database(#[from] DbError),
}
