//! What can go wrong, as types.

use crate::calls::CallError;

/// Any error of a callback or of a function call.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of this crate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A statement failed, or the database is not available.
    #[error("database error: {0}")]
    Database(#[source] diesel::result::Error),

    /// A table of the outbox is missing, or has another shape.
    #[error(
        "the outbox's tables are missing or out of date: run `outbox migrate` on this database, or \
         `Migrate::migrate` on a connection to it ({0})"
    )]
    Tables(#[source] diesel::result::Error),

    /// A message or a call with this id was written before. Nothing was written, and the caller's transaction
    /// continues.
    #[error(
        "a row with the id {0} is in the outbox already; `publish_if_new` of a message and `write_if_new` of a \
         call return false then"
    )]
    IdTaken(uuid::Uuid),

    /// The message cannot be written to the outbox as it is.
    #[error("invalid message: {0}")]
    Message(#[from] MessageError),

    /// The call cannot be written as it is.
    #[error("invalid call: {0}")]
    Call(#[from] CallError),

    /// A message had its effect before.
    #[cfg(feature = "subscriber")]
    #[error(transparent)]
    Duplicate(#[from] crate::callback::payload::Duplicate),

    /// The pool returned no connection in time.
    #[error("no database connection: {0}")]
    Pool(#[from] r2d2::Error),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        if is_missing_table(&error) {
            Self::Tables(error)
        } else {
            Self::Database(error)
        }
    }
}

/// Tables that the migrations make.
const TABLES: [&str; 7] = [
    "published",
    "received",
    "outbox_calls",
    "outbox_deliveries",
    "outbox_jobs",
    "outbox_streams",
    "outbox_trail",
];

/// Whether the error says that one of our tables is missing, or a column of one: by the sentences of
/// PostgreSQL, MySQL, MariaDB and SQLite, in English. In another language it stays as it is.
pub(crate) fn is_missing_table(error: &diesel::result::Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error};
    let Error::DatabaseError(DatabaseErrorKind::Unknown, about) = error else {
        return false;
    };
    let text = about.message();
    let is_ours = |name: &str| {
        let name = name.rsplit('.').next().unwrap_or_default();
        TABLES.contains(&name.trim_matches(|character| matches!(character, '"' | '`' | '\'')))
    };
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        Some(rest.split_once(end).map_or(rest, |(name, _)| name))
    };
    let is_missing = text.ends_with("does not exist") || text.ends_with("doesn't exist");
    match text {
        // relation "public.published" does not exist; column "seq" of relation "published" does not exist
        _ if is_missing && text.contains("relation \"") => {
            between("relation \"", "\" ").is_some_and(is_ours)
        }
        // Table 'shop.published' doesn't exist
        _ if is_missing && text.starts_with("Table '") => {
            between("Table '", "' ").is_some_and(is_ours)
        }
        // no such table: main.published; table published has no column named seq
        _ => {
            text.strip_prefix("no such table: ").is_some_and(is_ours)
                || (text.contains(" has no column named ")
                    && between("table ", " ").is_some_and(is_ours))
        }
    }
}

/// What is wrong with a message. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The destination is empty.
    #[error("the destination is empty; name one, such as `/topic/orders`")]
    EmptyDestination,

    /// A text is longer than its column.
    #[error("the {what} has {length} characters, and its column holds {limit}: shorten it")]
    TooLong {
        /// Which text: `destination`, `version`, `key` or `stream`.
        what: &'static str,
        /// How many characters it has.
        length: usize,
        /// How many the column holds.
        limit: usize,
    },

    /// A text holds U+0000, which neither STOMP headers nor the databases can carry.
    #[error("{what} holds the character U+0000: remove it")]
    Nul {
        /// Which text.
        what: String,
    },

    /// A header name is empty.
    #[error("a header has an empty name")]
    EmptyHeaderName,

    /// A header belongs to the frame, and a message may not set it.
    #[error("the header `{name}` belongs to the frame: choose another name")]
    ReservedHeader {
        /// The header's name.
        name: String,
    },

    /// The message is a task for Celery, and invalid as one.
    #[error(transparent)]
    Celery(#[from] crate::celery::CeleryTaskError),

    /// The body could not be turned into JSON.
    #[error("the body could not be serialised as JSON: {0}")]
    Body(#[source] serde_json::Error),

    /// A field of the model could not be turned into JSON.
    #[error("the field `{field}` could not be serialised as JSON: {source}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// serde's reason.
        source: serde_json::Error,
    },

    /// Messages are signed, and a signature of this one could not be verified later.
    #[error("{0}")]
    Unsignable(String),
}

/// An error and its causes, the outermost first.
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind, Error as DieselError};

    use super::*;

    #[test]
    fn a_missing_table_of_ours_is_recognised() {
        let of = |text: &str| {
            let about = Box::new(text.to_owned());
            Error::from(DieselError::DatabaseError(
                DatabaseErrorKind::Unknown,
                about,
            ))
        };
        for text in [
            "relation \"published\" does not exist",
            "relation \"public.published\" does not exist",
            "column \"seq\" of relation \"published\" does not exist",
            "Table 'shop.received' doesn't exist",
            "no such table: published",
            "no such table: main.published",
            "table published has no column named due_at",
        ] {
            let error = of(text);
            assert!(matches!(error, Error::Tables(_)), "{text}");
            assert!(error.to_string().contains("outbox migrate"), "{error}");
        }
        for text in [
            "relation \"orders\" does not exist",
            "permission denied for table published",
            "prepared statement \"published\" does not exist",
            "new row violates row-level security policy for table \"published\"",
            "Table 'published.orders' doesn't exist",
            "no such table: orders",
        ] {
            assert!(matches!(of(text), Error::Database(_)), "{text}");
        }
    }
}
