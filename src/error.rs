//! What can go wrong, as types.

/// Why a call of this crate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused a statement, or is away.
    #[error("the database refused: {0}")]
    Database(#[from] diesel::result::Error),

    /// The message cannot be written to the outbox as it is.
    #[error("invalid message: {0}")]
    Message(#[from] MessageError),

    /// A message had its effect before.
    #[error(transparent)]
    Duplicate(#[from] crate::payload::Duplicate),

    /// No connection could be had from the pool.
    #[error("no database connection: {0}")]
    Pool(#[from] r2d2::Error),
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
}
