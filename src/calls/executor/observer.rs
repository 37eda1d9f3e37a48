//! The log lines, the hooks and the status of an executor.

use std::fmt::Display;
use std::time::Duration;

use super::event::CallEvent;
use super::execution::failure;
use super::monitor::{ExecutorMonitor, ExecutorStats};
use crate::engine::hooks::{EventKind, HookQueue};
use crate::engine::observer::Observer;
use crate::engine::row::Row;
use crate::metrics::{CallMetrics, FailedCall, ParkCause, ParkedMetrics};

/// Learns what the engine of an executor does.
pub(in crate::calls) struct ExecutorObserver {
    hooks: HookQueue<CallEvent>,
    monitor: ExecutorMonitor,
    metrics: CallMetrics,
    parked: ParkedMetrics,
}

/// The number of the present attempt.
pub(super) fn attempt(row: &Row) -> u32 {
    u32::try_from(row.claimed.retry)
        .unwrap_or(0)
        .saturating_add(1)
}

/// How long a call has run.
fn took(row: &Row) -> Duration {
    row.started
        .map_or_else(Duration::default, |started| started.elapsed())
}

impl ExecutorObserver {
    pub(in crate::calls) fn new(
        hooks: HookQueue<CallEvent>,
        monitor: ExecutorMonitor,
        metrics: CallMetrics,
    ) -> Self {
        Self {
            hooks,
            monitor,
            metrics,
            parked: ParkedMetrics::default(),
        }
    }

    fn notify(&mut self, kind: EventKind, row: &Row, error: Option<&str>) {
        let claimed = &row.claimed;
        let bytes = claimed.destination.len() + error.map_or(0, str::len);
        self.hooks.notify(kind, bytes, || CallEvent {
            id: claimed.id,
            seq: claimed.seq,
            name: claimed.destination.clone(),
            stream: claimed.stream.clone(),
            key: claimed.key.clone(),
            attempt: attempt(row),
            duration: took(row),
            error: error.map(str::to_owned),
        });
    }
}

impl Observer for ExecutorObserver {
    fn sent(&mut self, row: &Row) {
        let name = &row.claimed.destination;
        tracing::debug!(id = %row.id(), seq = row.claimed.seq, name, "executed");
        self.monitor.executed();
        self.metrics.executed(name, took(row));
        self.notify(EventKind::Sent, row, None);
    }

    fn failed(&mut self, row: &Row, reason: &str, is_retried: bool) {
        self.monitor.failed(reason);
        let why = failure(reason);
        self.metrics
            .failed(&row.claimed.destination, why, took(row));
        if is_retried {
            let (name, attempt) = (&row.claimed.destination, attempt(row));
            tracing::warn!(id = %row.id(), name, attempt, reason, "a call failed; retrying");
            self.notify(EventKind::Failed, row, Some(reason));
        }
    }

    fn parked(&mut self, row: &Row, cause: ParkCause, reason: &str) {
        let name = &row.claimed.destination;
        self.parked.parked(name, cause);
        if cause == ParkCause::Unsendable {
            self.metrics.failed(name, FailedCall::Unsendable, took(row));
        }
        tracing::warn!(
            id = %row.id(),
            name,
            reason,
            "a call is parked; `outbox retry --calls` executes it again"
        );
        self.monitor.parked(reason);
        self.notify(EventKind::Parked, row, Some(reason));
    }

    fn error(&self, error: &dyn Display) {
        self.monitor.error(error);
    }

    fn load(&self, in_flight: usize, backlog: usize) {
        self.monitor.load(in_flight, backlog);
    }

    // An executor has no circuits.
    fn circuits(&self, _: Vec<String>) {}

    async fn finish(&mut self) {
        self.hooks.finish().await;
        self.monitor.stopped();
        let ExecutorStats {
            executed,
            failed,
            parked,
        } = self.monitor.stats();
        tracing::info!(executed, failed, parked, "the executor has stopped");
    }
}
