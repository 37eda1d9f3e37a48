//! Why the pages cannot be served.

use crate::config::ConfigError;
use crate::db::{AddressError, PoolTooSmall};

/// Why a [`Dashboard`](super::Dashboard) cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address of the database cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The pool has too few connections.
    #[error(transparent)]
    Pool(#[from] PoolTooSmall),
    /// Nobody could log in, and the pages are not open either.
    #[error(
        "the pages have no login: set web_users (`outbox hash-password` makes a line of it) or web_tokens, or call \
         `Dashboard::without_login` in an application that checks itself who sees them"
    )]
    NoLogin,
}
