//! Why a call cannot be written or read.

use crate::error::BoxError;

/// Why a call cannot be written. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// [`Call::NAME`](super::Call::NAME) is empty.
    #[error("the name is empty; name the function, such as `shop.charge`")]
    EmptyName,

    /// A text is longer than its column.
    #[error("the {what} has {length} characters, and its column holds {limit}: shorten it")]
    TooLong {
        /// Which text: `name`, `key` or `stream`.
        what: &'static str,
        /// How many characters it has.
        length: usize,
        /// How many the column holds.
        limit: usize,
    },

    /// A text holds U+0000, which the databases cannot store.
    #[error("{what} holds the character U+0000: remove it")]
    Nul {
        /// Which text.
        what: String,
    },

    /// A header name is empty.
    #[error("a header has an empty name")]
    EmptyHeaderName,

    /// The arguments could not be encoded.
    #[error("the arguments of `{name}` could not be encoded as {encoding}: {source}")]
    Encode {
        /// The name of the function.
        name: &'static str,
        /// The name of the encoding.
        encoding: &'static str,
        /// The encoder's reason.
        source: BoxError,
    },
}

/// Why the arguments of a row cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The row's encoding is not the one of the function, and not one that every function reads.
    #[error("the arguments have the unknown encoding `{}`", .0.escape_default())]
    UnknownEncoding(String),

    /// The column with the arguments in this encoding is empty.
    #[error("the row has no arguments in the encoding `{0}`")]
    Missing(&'static str),

    /// The arguments do not have the form that the function needs.
    #[error("the arguments could not be decoded as {encoding}: {source}")]
    Decode {
        /// The name of the encoding.
        encoding: &'static str,
        /// The decoder's reason.
        source: BoxError,
    },
}
