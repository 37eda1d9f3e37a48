//! Threads that were replaced because their statement does not end.

use std::sync::{Arc, Weak};

use super::job::Taken;

/// Minimum for the limit of stuck threads, if there are fewer workers.
const LEAST_LIMIT: usize = 8;

/// Maximum number of attempts at one message at a time. The second one has connections of its own, on which
/// our statements wait for a lock only for a limited time.
const MAX_ATTEMPTS: usize = 2;

/// The messages of stuck threads. Each thread holds its message until it returns. A thread costs a
/// connection, so their number has a limit; beyond it, workers wait as long as the server lets them.
#[derive(Debug)]
pub(super) struct StuckThreads {
    limit: usize,
    threads: Vec<Weak<Taken>>,
    has_warned: bool,
}

/// Attempts at the message still wait for the database.
#[derive(Debug, thiserror::Error)]
#[error(
    "{MAX_ATTEMPTS} attempts at the message still wait for the database; no further attempt beside them"
)]
pub(super) struct StillWaiting;

impl StuckThreads {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            limit: workers.max(LEAST_LIMIT),
            threads: Vec::new(),
            has_warned: false,
        }
    }

    pub(super) fn add(&mut self, taken: &Arc<Taken>) {
        self.threads.push(Arc::downgrade(taken));
    }

    /// Whether one more thread may be replaced.
    pub(super) fn has_room(&mut self) -> bool {
        self.forget_returned();
        let has_room = self.threads.len() < self.limit;
        if !has_room && !self.has_warned {
            tracing::warn!(
                threads = self.threads.len(),
                "too many threads wait for the database; stuck threads are no longer replaced"
            );
        }
        self.has_warned = !has_room;
        has_room
    }

    /// Whether an attempt at the message may start now.
    pub(super) fn admit(&mut self, taken: &Taken) -> Result<(), StillWaiting> {
        if self.threads.is_empty() {
            return Ok(());
        }
        self.forget_returned();
        let id = taken.job.payload.msg_id();
        let times = self
            .threads
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|stuck| stuck.job.payload.msg_id() == id)
            .count();
        if times < MAX_ATTEMPTS {
            Ok(())
        } else {
            Err(StillWaiting)
        }
    }

    fn forget_returned(&mut self) {
        self.threads.retain(|taken| taken.strong_count() > 0);
    }
}
