//! The last error of a database session.

/// The last error of a session as the server keeps it.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The server's number for it.
    pub number: u32,
    /// Its text, for comparison with the error in question.
    pub text: String,
}
