//! A handle that shows what an executor does.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use tokio::time::Instant;

use crate::status::{LastError, LastTurn, Rate};

/// The number of calls that an executor has executed, failed to execute and parked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorStats {
    /// Calls whose function returned Ok.
    pub executed: u64,
    /// Failed attempts. Outages do not count.
    pub failed: u64,
    /// Calls that were parked.
    pub parked: u64,
}

/// A snapshot of an executor's state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExecutorStatus {
    /// Calls that run, or wait for the thread of a worker: short ones do so for up to a millisecond.
    pub running: usize,
    /// Calls that the executor has claimed and not started. The rows in the database are not counted.
    pub backlog: usize,
    /// The numbers of calls since the executor started.
    pub stats: ExecutorStats,
    /// Calls executed per second, over the last minute, or since the first one if that is less.
    pub executed_per_second: f64,
    /// The last error: of a call or of the database.
    pub last_error: Option<LastError>,
    /// Whether the executor has ended.
    pub is_stopped: bool,
    /// Calls that did not finish in time when the executor stopped. Their leases end by themselves.
    pub unfinished: usize,
}

/// A handle that shows what an executor does, while it runs and afterwards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ExecutorMonitor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    executed: AtomicU64,
    failed: AtomicU64,
    parked: AtomicU64,
    running: AtomicUsize,
    backlog: AtomicUsize,
    is_stopped: AtomicBool,
    unfinished: AtomicUsize,
    last_turn: LastTurn,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    rate: Rate,
    last_error: Option<LastError>,
}

impl ExecutorMonitor {
    /// The numbers of calls so far.
    #[must_use]
    pub fn stats(&self) -> ExecutorStats {
        ExecutorStats {
            executed: self.0.executed.load(Ordering::Relaxed),
            failed: self.0.failed.load(Ordering::Relaxed),
            parked: self.0.parked.load(Ordering::Relaxed),
        }
    }

    /// A snapshot of the executor's state.
    #[must_use]
    pub fn status(&self) -> ExecutorStatus {
        let mut details = self.details();
        ExecutorStatus {
            running: self.0.running.load(Ordering::Relaxed),
            backlog: self.0.backlog.load(Ordering::Relaxed),
            stats: self.stats(),
            executed_per_second: details.rate.per_second(Instant::now()),
            last_error: details.last_error.clone(),
            is_stopped: self.0.is_stopped.load(Ordering::Relaxed),
            unfinished: self.0.unfinished.load(Ordering::Relaxed),
        }
    }

    /// Whether the executor's loop has turned within this time: a check that the process is alive. It turns every 10 s or
    /// more often if there is nothing to do. Also true if the executor does not run.
    #[must_use]
    pub fn has_turned_within(&self, limit: std::time::Duration) -> bool {
        self.0.last_turn.is_within(limit)
    }

    pub(super) fn executed(&self) {
        self.0.executed.fetch_add(1, Ordering::Relaxed);
        self.details().rate.count(Instant::now());
    }

    pub(super) fn failed(&self, reason: &str) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        self.error(&reason);
    }

    pub(super) fn parked(&self, reason: &str) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
        self.error(&reason);
    }

    pub(super) fn error(&self, error: &dyn Display) {
        self.details().last_error = Some(LastError::new(Utc::now(), error.to_string()));
    }

    pub(super) fn load(&self, running: usize, backlog: usize) {
        self.0.last_turn.turned();
        self.0.running.store(running, Ordering::Relaxed);
        self.0.backlog.store(backlog, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) {
        let running = self.0.running.load(Ordering::Relaxed);
        self.0.unfinished.store(running, Ordering::Relaxed);
        self.load(0, 0);
        self.0.last_turn.ended();
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.0
            .details
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
