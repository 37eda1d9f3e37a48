//! How a waiting relay learns of new rows before its next poll.

/// How listening to a database's notifications ended.
#[doc(hidden)]
#[derive(Debug)]
pub enum Listened {
    /// The database sends no notifications, or this build cannot listen to them.
    Unsupported,
    /// Listening was ended, or the server closed the connection.
    Ended,
    /// The connection was lost, for this reason.
    Lost(String),
    /// No connection could be opened.
    Refused {
        /// The reason, with all causes. It may quote the address.
        reason: String,
        /// Whether this is temporary: the server is not available or has too many connections.
        is_temporary: bool,
    },
}
