//! A handle that shows what a relay does.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use tokio::time::Instant;

use super::stats::RelayStats;
use super::status::RelayStatus;
use crate::status::{BrokerConnection, LastError, LastTurn, Rate};

/// Open circuits that are listed by name.
const LISTED_CIRCUITS: usize = 100;

/// A handle that shows what a relay does, while it runs and afterwards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RelayMonitor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    failed: AtomicU64,
    parked: AtomicU64,
    in_flight: AtomicUsize,
    backlog: AtomicUsize,
    last_turn: LastTurn,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    connection: BrokerConnection,
    rate: Rate,
    last_error: Option<LastError>,
    circuits: Vec<String>,
    circuit_count: usize,
}

impl RelayMonitor {
    /// The numbers of rows so far.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        RelayStats {
            sent: self.0.sent.load(Ordering::Relaxed),
            failed: self.0.failed.load(Ordering::Relaxed),
            parked: self.0.parked.load(Ordering::Relaxed),
        }
    }

    /// A snapshot of the relay's state.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        let mut details = self.details();
        RelayStatus {
            connection: details.connection.clone(),
            in_flight: self.0.in_flight.load(Ordering::Relaxed),
            backlog: self.0.backlog.load(Ordering::Relaxed),
            stats: self.stats(),
            sent_per_second: details.rate.per_second(Instant::now()),
            last_error: details.last_error.clone(),
            open_circuits: details.circuits.clone(),
            open_circuit_count: details.circuit_count,
        }
    }

    /// Whether the relay's loop has turned within this time: a check that the process is alive. It turns every 10 s or
    /// more often if there is nothing to do. Also true if the relay does not run.
    #[must_use]
    pub fn has_turned_within(&self, limit: std::time::Duration) -> bool {
        self.0.last_turn.is_within(limit)
    }

    pub(crate) fn sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.details().rate.count(Instant::now());
    }

    pub(crate) fn failed(&self, reason: &str) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        self.error(&reason);
    }

    pub(crate) fn parked(&self, reason: &str) {
        self.0.parked.fetch_add(1, Ordering::Relaxed);
        self.error(&reason);
    }

    pub(crate) fn error(&self, error: &dyn Display) {
        self.details().last_error = Some(LastError::new(Utc::now(), error.to_string()));
    }

    pub(crate) fn connected(&self) {
        self.details().connection = BrokerConnection::Connected;
    }

    /// There is no connection, for this reason.
    pub(crate) fn disconnected(&self, reason: String) {
        let mut details = self.details();
        details.last_error = Some(LastError::new(Utc::now(), reason.clone()));
        details.connection = BrokerConnection::Disconnected(reason);
    }

    /// The relay has ended.
    pub(crate) fn stopped(&self) {
        self.load(0, 0);
        self.0.last_turn.ended();
        self.details().connection = BrokerConnection::Stopped;
    }

    /// The relay's loop turns with these numbers of rows.
    pub(crate) fn load(&self, in_flight: usize, backlog: usize) {
        self.0.last_turn.turned();
        self.0.in_flight.store(in_flight, Ordering::Relaxed);
        self.0.backlog.store(backlog, Ordering::Relaxed);
    }

    pub(crate) fn circuits(&self, mut open: Vec<String>) {
        open.sort_unstable();
        let mut details = self.details();
        details.circuit_count = open.len();
        open.truncate(LISTED_CIRCUITS);
        details.circuits = open;
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.0
            .details
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_shows_what_happened() {
        let monitor = RelayMonitor::default();
        assert_eq!(monitor.status().connection, BrokerConnection::NotStarted);
        monitor.disconnected("connection refused".to_owned());
        let reason = BrokerConnection::Disconnected("connection refused".to_owned());
        assert_eq!(monitor.status().connection, reason);
        monitor.connected();
        for _ in 0..120 {
            monitor.sent();
        }
        monitor.load(3, 7);
        monitor.failed("refused by the broker");
        monitor.circuits((0..150).map(|n| format!("/queue/{n:03}")).collect());
        tokio::time::advance(Duration::from_secs(59)).await;
        let status = monitor.status();
        assert_eq!(status.connection, BrokerConnection::Connected);
        assert_eq!((status.in_flight, status.backlog), (3, 7));
        assert_eq!((status.stats.sent, status.stats.failed), (120, 1));
        assert!((status.sent_per_second - 2.0).abs() < 0.1, "{status:?}");
        assert_eq!(status.last_error.unwrap().text, "refused by the broker");
        assert_eq!(status.open_circuits.len(), LISTED_CIRCUITS);
        assert_eq!(status.open_circuits[0], "/queue/000");
        assert_eq!(status.open_circuit_count, 150);
        monitor.circuits(Vec::new());
        monitor.stopped();
        let status = monitor.status();
        assert_eq!(status.connection, BrokerConnection::Stopped);
        assert_eq!((status.in_flight, status.open_circuit_count), (0, 0));
    }
}
