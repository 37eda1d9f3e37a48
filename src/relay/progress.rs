//! How far a relay is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Sent;

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    parked: AtomicU64,
}

/// What a relay has done so far. Cheap to clone, and to look at while the relay runs.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counts>);

impl Progress {
    /// What was done until now.
    #[must_use]
    pub fn so_far(&self) -> Sent {
        Sent {
            sent: self.0.sent.load(Ordering::Relaxed),
            failed: self.0.failed.load(Ordering::Relaxed),
            parked: self.0.parked.load(Ordering::Relaxed),
        }
    }

    pub(super) fn sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn parked(&self) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
    }
}
