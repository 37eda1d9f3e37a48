//! What a hook receives.

use std::fmt;

use uuid::Uuid;

use crate::engine::hooks::HookEvent;

/// A row with a delivery result, as a hook receives it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowEvent {
    /// The message's id.
    pub id: Uuid,
    /// The row's place in the order of writing.
    pub seq: i64,
    /// The destination.
    pub destination: String,
    /// The ordering key.
    pub key: Option<String>,
    /// The body as JSON text. Empty if it is larger than the setting `maximum_message_size`, because it is
    /// not read then.
    pub body: String,
    /// The headers as JSON text.
    pub headers: String,
    /// The number of failed attempts before this one.
    pub retry: i32,
    /// Why the row failed or was parked.
    pub reason: Option<String>,
}

impl HookEvent for RowEvent {
    fn id(&self) -> Uuid {
        self.id
    }
}

// The body may contain personal data.
impl fmt::Debug for RowEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowEvent")
            .field("id", &self.id)
            .field("seq", &self.seq)
            .field("destination", &self.destination)
            .field("retry", &self.retry)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
