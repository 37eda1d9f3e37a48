//! What a hook receives.

use std::time::Duration;

use uuid::Uuid;

use crate::engine::hooks::HookEvent;

/// An execution, as a hook receives it. It has no arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallEvent {
    /// The id of the call.
    pub id: Uuid,
    /// The row's place in the order of writing.
    pub seq: i64,
    /// The name under which it was written.
    pub name: String,
    /// Its stream.
    pub stream: Option<String>,
    /// Its ordering key.
    pub key: Option<String>,
    /// The number of this attempt, from 1 on. Outages do not count.
    pub attempt: u32,
    /// How long the execution took; zero if it was parked without one.
    pub duration: Duration,
    /// Why it failed or was parked.
    pub error: Option<String>,
}

impl HookEvent for CallEvent {
    fn id(&self) -> Uuid {
        self.id
    }
}
