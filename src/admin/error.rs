//! Why an operation failed.

use diesel::result::Error;

use crate::error::is_missing_table;

/// Why an operation on the tables failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// A statement failed, or the database is not available.
    #[error("database error: {0}")]
    Database(#[source] Error),

    /// A table of the outbox is missing, or has another shape.
    #[error(
        "the outbox's tables are missing or out of date: run `outbox migrate` on this database, or \
         `Migrate::migrate` on a connection to it ({0})"
    )]
    Tables(#[source] Error),

    /// The name of a stream is empty, too long, or has U+0000.
    #[error("the name of a stream has 1 to 100 characters, none of them U+0000")]
    StreamName,

    /// A new destination is empty, too long, or has U+0000.
    #[error("a destination has 1 to 255 characters, none of them U+0000")]
    Destination,

    /// A new destination was given for a change that has none, or for function calls.
    #[error("only messages that are retried can get another destination")]
    NotRedirectable,

    /// A row is signed, and this process has no keys to sign it with. Nothing was changed.
    #[error(
        "the row `{}` is signed, and with another destination its signature is not valid: set `sign` and \
         `signing_keys`, so that it is signed again",
        .id.escape_debug()
    )]
    Signed {
        /// The row's id.
        id: String,
    },

    /// A signed row is not as it was signed, so that it is not signed again. Nothing was changed.
    #[error("the row `{}` gets no new signature: {reason}", .id.escape_debug())]
    InvalidSignature {
        /// The row's id.
        id: String,
        /// Why its signature is not valid, or why it cannot be signed.
        reason: String,
    },
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        if is_missing_table(&error) {
            Self::Tables(error)
        } else {
            Self::Database(error)
        }
    }
}
