//! Threads that were given up, and have not come back.

use std::sync::{Arc, Weak};

use super::job::Taken;

/// So many may wait for a server that has gone silent even where there are fewer workers.
const SPARE: usize = 8;

/// A message may be tried beside so many attempts of its own less one. The second one has connections of
/// its own, on which statements of ours wait for no lock without an end.
const TIMES: usize = 2;

/// What given-up threads are at, which they hold until they come back. A thread costs a connection, so
/// their number has a limit: beyond it, workers wait as long as the server lets them.
#[derive(Debug)]
pub(super) struct Stuck {
    limit: usize,
    threads: Vec<Weak<Taken>>,
    has_warned: bool,
}

/// Attempts of the message wait for the database still.
#[derive(Debug, thiserror::Error)]
#[error("{TIMES} attempts at the message wait for the database still; it is not tried beside them")]
pub(super) struct StillWaiting;

impl Stuck {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            limit: workers.max(SPARE),
            threads: Vec::new(),
            has_warned: false,
        }
    }

    pub(super) fn add(&mut self, taken: &Arc<Taken>) {
        self.threads.push(Arc::downgrade(taken));
    }

    /// Whether one more may be given up.
    pub(super) fn has_room(&mut self) -> bool {
        self.forget_those_that_came_back();
        let has_room = self.threads.len() < self.limit;
        if !has_room && !self.has_warned {
            tracing::warn!(
                threads = self.threads.len(),
                "so many threads wait for the database that no more are started in their place"
            );
        }
        self.has_warned = !has_room;
        has_room
    }

    /// Whether the message may be tried now.
    pub(super) fn admit(&mut self, taken: &Taken) -> Result<(), StillWaiting> {
        if self.threads.is_empty() {
            return Ok(());
        }
        self.forget_those_that_came_back();
        let id = taken.job.payload.msg_id();
        let times = self
            .threads
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|stuck| stuck.job.payload.msg_id() == id)
            .count();
        if times < TIMES {
            Ok(())
        } else {
            Err(StillWaiting)
        }
    }

    fn forget_those_that_came_back(&mut self) {
        self.threads.retain(|taken| taken.strong_count() > 0);
    }
}
