//! Why a subscriber could not be made, or ended without a request to stop.

use std::time::Duration;

use super::queue_error::QueueError;
use crate::callback::RegistryError;
use crate::db::{AddressError, DbError, PoolTooSmall};
use crate::stomp;

/// Why a subscriber ended without a request to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The callback is unknown, or registered twice.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The destination or the queue cannot be subscribed to.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The database's address is invalid, or its database is not in this build.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The service's pool has room for too few connections.
    #[error(transparent)]
    Pool(#[from] PoolTooSmall),
    /// The broker's address is invalid.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The broker refuses the login, the virtual host or the queue's arguments.
    #[error("the broker: {0}")]
    Broker(#[source] stomp::Error),
    /// The tables are missing, or the database refuses the connection.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The threads of the workers could not be started.
    #[error("could not start the threads of the workers: {0}")]
    Threads(#[source] std::io::Error),
    /// Callbacks did not finish within `shutdown_timeout`; their messages are redelivered.
    #[error("callbacks were still running {after:?} after the shutdown signal")]
    Unfinished {
        /// `shutdown_timeout`.
        after: Duration,
    },
}

impl SubscribeError {
    /// Whether the settings or the arguments are wrong.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_misconfigured(),
            Self::Database(_) | Self::Threads(_) | Self::Unfinished { .. } => false,
            _ => true,
        }
    }
}
