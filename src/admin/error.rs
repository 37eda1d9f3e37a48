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
