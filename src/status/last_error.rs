//! The last error of a relay or of a subscriber.

use chrono::{DateTime, Utc};

/// An error and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// When it happened, by this machine's clock.
    pub at: DateTime<Utc>,
    /// The error's text.
    pub text: String,
}

impl LastError {
    pub(crate) fn new(at: DateTime<Utc>, text: String) -> Self {
        Self { at, text }
    }
}
