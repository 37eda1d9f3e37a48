//! The log lines, the hooks and the status of a relay.

use std::fmt::Display;

use super::monitor::RelayMonitor;
use super::row_event::RowEvent;
use super::stats::RelayStats;
use super::stomp::CLOSED_AT;
use crate::engine::hooks::{EventKind, HookQueue};
use crate::engine::observer::Observer;
use crate::engine::row::Row;
use crate::metrics::{ParkCause, ParkedMetrics, RelayMetrics};

/// Learns what the engine of a relay does.
pub(crate) struct RelayObserver {
    hooks: HookQueue<RowEvent>,
    monitor: RelayMonitor,
    metrics: RelayMetrics,
    parked: ParkedMetrics,
}

impl RelayObserver {
    pub(crate) fn new(hooks: HookQueue<RowEvent>, monitor: RelayMonitor) -> Self {
        Self {
            hooks,
            monitor,
            metrics: RelayMetrics::default(),
            parked: ParkedMetrics::default(),
        }
    }

    fn notify(&mut self, kind: EventKind, row: &Row, reason: Option<&str>) {
        let claimed = &row.claimed;
        let bytes = row.body.len() + claimed.headers.len();
        self.hooks.notify(kind, bytes, || RowEvent {
            id: claimed.id,
            seq: claimed.seq,
            destination: claimed.destination.clone(),
            key: claimed.key.clone(),
            body: String::from_utf8_lossy(&row.body).into_owned(),
            headers: claimed.headers.clone(),
            retry: claimed.retry,
            reason: reason.map(str::to_owned),
        });
    }
}

impl Observer for RelayObserver {
    fn sent(&mut self, row: &Row) {
        tracing::debug!(id = %row.id(), seq = row.claimed.seq, "sent");
        self.monitor.sent();
        self.metrics.published(row);
        self.notify(EventKind::Sent, row, None);
    }

    fn failed(&mut self, row: &Row, reason: &str, is_retried: bool) {
        self.monitor.failed(reason);
        self.metrics.failed(row, reason.starts_with(CLOSED_AT));
        if is_retried {
            tracing::warn!(
                id = %row.id(),
                destination = row.claimed.destination,
                attempt = row.claimed.retry.saturating_add(1),
                reason,
                "not sent; retrying"
            );
            self.notify(EventKind::Failed, row, Some(reason));
        }
    }

    fn parked(&mut self, row: &Row, cause: ParkCause, reason: &str) {
        self.parked.parked(&row.claimed.destination, cause);
        tracing::warn!(
            id = %row.id(),
            destination = row.claimed.destination,
            reason,
            "parked; `outbox retry` sends it again"
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

    fn circuits(&self, open: Vec<String>) {
        self.monitor.circuits(open);
    }

    async fn finish(&mut self) {
        self.hooks.finish().await;
        self.monitor.stopped();
        let RelayStats {
            sent,
            failed,
            parked,
        } = self.monitor.stats();
        tracing::info!(sent, failed, parked, "the relay has stopped");
    }
}
