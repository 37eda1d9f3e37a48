//! Errors that another attempt would not avoid.

use std::error::Error;
use std::fmt;

use crate::error::BoxError;
#[cfg(any(feature = "subscriber", feature = "calls"))]
use crate::error::causes;

/// An error that another attempt would not avoid. If a callback returns it, the message goes to the dead
/// letters at once; if a function call returns it, the call is parked at once. After any other error there is
/// another attempt.
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
    /// Marks an error as permanent.
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
    // The error itself, so that a database error below it is found.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Whether an error or one of its causes is permanent.
#[cfg(any(feature = "subscriber", feature = "calls"))]
pub(crate) fn is_permanent(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| error.is::<Permanent>())
}
