//! Errors that another attempt would meet again.

use std::error::Error;
use std::fmt;

use crate::registry::BoxError;

/// An error of a callback that another attempt would meet again: the message goes to the dead letters
/// at once. Whatever else a callback returns is tried again.
///
/// ```
/// use diesel_outbox::{BoxError, Permanent};
///
/// fn amount(text: &str) -> Result<u32, BoxError> {
///     Ok(text.parse().map_err(Permanent::new)?)
/// }
///
/// assert!(amount("twelve").unwrap_err().is::<Permanent>());
/// ```
#[derive(Debug)]
pub struct Permanent(BoxError);

impl Permanent {
    /// Says that this error stays.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// The error itself.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Permanent {
    // Itself, so that a database's own failure is found below it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Whether an error, or one that it was caused by, says so.
pub(crate) fn is_permanent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Permanent>() {
            return true;
        }
        next = error.source();
    }
    false
}
