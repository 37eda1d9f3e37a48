//! What a function can learn about its execution.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::state::{MissingState, State, States};

/// One execution of a call. A function gets it as a parameter of the type `&CallInfo`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallInfo {
    /// The id of the call: the same at each attempt, so it can be an idempotency key for other services.
    pub id: Uuid,
    /// The name under which it was written.
    pub name: String,
    /// Its stream.
    pub stream: Option<String>,
    /// Its ordering key.
    pub key: Option<String>,
    /// The number of this attempt, from 1 on. Outages do not count.
    pub attempt: u32,
    /// When its time limit ends. An async function is dropped then, and the attempt has failed. A function on a
    /// thread cannot be ended, and its result counts after the limit too: it can return an error by itself.
    pub deadline: Option<Instant>,
    /// The correlation id of the code that wrote it.
    pub correlation_id: Option<String>,
}

impl CallInfo {
    /// The execution of a call without options, such as for a test of a function.
    #[must_use]
    pub fn new(id: Uuid, name: impl Into<String>, attempt: u32) -> Self {
        Self {
            id,
            name: name.into(),
            stream: None,
            key: None,
            attempt,
            deadline: None,
            correlation_id: None,
        }
    }
}

/// An execution, and the state that its function may ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    info: Arc<CallInfo>,
    states: Arc<States>,
}

impl Context {
    /// The context of an execution.
    #[must_use]
    pub fn new(info: CallInfo, states: Arc<States>) -> Self {
        Self {
            info: Arc::new(info),
            states,
        }
    }

    /// The function starts now.
    #[cfg(feature = "calls")]
    pub(super) fn starts(&mut self, timeout: Option<std::time::Duration>) {
        if let Some(info) = Arc::get_mut(&mut self.info) {
            info.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        }
    }

    /// The execution.
    #[must_use]
    pub fn info(&self) -> &CallInfo {
        &self.info
    }

    /// Returns the application's state of this type.
    ///
    /// # Errors
    ///
    /// [`MissingState`] if the registry has none.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<State<T>, MissingState> {
        self.states.get()
    }
}
