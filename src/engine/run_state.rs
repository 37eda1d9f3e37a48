//! Whether the engine runs, stops, or has failed.

use std::time::Duration;

use tokio::time::Instant;

/// The state of a run. `E` is the error that ended it.
#[derive(Debug)]
pub(super) struct RunState<E> {
    /// Whether the run ends when nothing is due.
    once: bool,
    stopping_since: Option<Instant>,
    failed_with: Option<E>,
}

impl<E> RunState<E> {
    pub(super) fn new(once: bool) -> Self {
        Self {
            once,
            stopping_since: None,
            failed_with: None,
        }
    }

    pub(super) fn is_once(&self) -> bool {
        self.once
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping_since.is_some()
    }

    pub(super) fn stop(&mut self) {
        self.stopping_since.get_or_insert_with(Instant::now);
    }

    /// Stops with an error; the first one is kept.
    pub(super) fn fail(&mut self, error: E) {
        self.failed_with.get_or_insert(error);
        self.stop();
    }

    /// The moment at which a stop that takes `limit` ends without the rest.
    pub(super) fn stop_deadline(&self, limit: Option<Duration>) -> Option<Instant> {
        Some(self.stopping_since? + limit?)
    }

    /// The error that ended the run.
    pub(super) fn into_error(self) -> Option<E> {
        self.failed_with
    }
}
