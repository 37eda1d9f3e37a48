//! A handle that shows what a subscriber does.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use tokio::time::Instant;

use super::stats::SubscriberStats;
use super::status::SubscriberStatus;
use crate::status::{BrokerConnection, LastError, LastTurn, Rate};

/// A handle that shows what a subscriber does, while it runs and afterwards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SubscriberMonitor(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    connection: BrokerConnection,
    unfinished: usize,
    running: usize,
    stats: SubscriberStats,
    rate: Rate,
    last_error: Option<LastError>,
    last_turn: LastTurn,
}

/// How a message was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    Done,
    Duplicate,
    Discarded,
    Dead,
}

impl SubscriberMonitor {
    /// The numbers of messages so far.
    #[must_use]
    pub fn stats(&self) -> SubscriberStats {
        self.state().stats
    }

    /// A snapshot of the subscriber's state.
    #[must_use]
    pub fn status(&self) -> SubscriberStatus {
        let mut state = self.state();
        SubscriberStatus {
            connection: state.connection.clone(),
            unfinished: state.unfinished,
            running: state.running,
            stats: state.stats,
            handled_per_second: state.rate.per_second(Instant::now()),
            last_error: state.last_error.clone(),
        }
    }

    /// Whether the subscriber's loop has turned within this time: a check that the process is alive. It turns every 10 s or
    /// more often if there is nothing to do. Also true if the subscriber does not run.
    #[must_use]
    pub fn has_turned_within(&self, limit: std::time::Duration) -> bool {
        self.state().last_turn.is_within(limit)
    }

    /// A message was handled.
    pub(super) fn handled(&self, how: Handled) {
        let mut state = self.state();
        let stats = &mut state.stats;
        let number = match how {
            Handled::Done => &mut stats.done,
            Handled::Duplicate => &mut stats.duplicates,
            Handled::Discarded => &mut stats.discarded,
            Handled::Dead => &mut stats.dead,
        };
        *number += 1;
        state.rate.count(Instant::now());
    }

    /// An error that does not end the connection.
    pub(super) fn error(&self, error: &dyn Display) {
        self.state().last_error = Some(LastError::new(Utc::now(), error.to_string()));
    }

    pub(super) fn connected(&self) {
        self.state().connection = BrokerConnection::Connected;
    }

    /// There is no subscription, for this reason.
    pub(super) fn disconnected(&self, reason: &dyn Display) {
        let reason = reason.to_string();
        let mut state = self.state();
        state.last_error = Some(LastError::new(Utc::now(), reason.clone()));
        state.connection = BrokerConnection::Disconnected(reason);
    }

    /// The subscriber's loop does not turn any more; callbacks may still run.
    pub(super) fn finishing(&self) {
        self.state().last_turn.ended();
    }

    /// The subscriber has ended.
    pub(super) fn stopped(&self) {
        let mut state = self.state();
        (state.unfinished, state.running) = (0, 0);
        state.last_turn.ended();
        state.connection = BrokerConnection::Stopped;
    }

    /// The subscriber's loop turns with these numbers of messages.
    pub(super) fn load(&self, unfinished: usize, running: usize) {
        let mut state = self.state();
        (state.unfinished, state.running) = (unfinished, running);
        state.last_turn.turned();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_shows_what_happened() {
        let monitor = SubscriberMonitor::default();
        assert_eq!(monitor.status().connection, BrokerConnection::NotStarted);
        monitor.disconnected(&"connection refused");
        let reason = BrokerConnection::Disconnected("connection refused".to_owned());
        let status = monitor.status();
        assert_eq!(status.connection, reason);
        assert_eq!(status.last_error.unwrap().text, "connection refused");
        monitor.connected();
        for how in [
            Handled::Done,
            Handled::Duplicate,
            Handled::Discarded,
            Handled::Dead,
        ] {
            (0..30).for_each(|_| monitor.handled(how));
        }
        monitor.handled(Handled::Done);
        monitor.load(7, 3);
        monitor.error(&"the callback failed");
        tokio::time::advance(Duration::from_secs(59)).await;
        let status = monitor.status();
        assert_eq!(status.connection, BrokerConnection::Connected);
        assert_eq!((status.unfinished, status.running), (7, 3));
        let stats = SubscriberStats {
            done: 31,
            duplicates: 30,
            discarded: 30,
            dead: 30,
        };
        assert_eq!((status.stats, monitor.stats()), (stats, stats));
        assert!((status.handled_per_second - 2.0).abs() < 0.1, "{status:?}");
        assert_eq!(status.last_error.unwrap().text, "the callback failed");
        monitor.stopped();
        let status = monitor.status();
        assert_eq!(status.connection, BrokerConnection::Stopped);
        assert_eq!((status.unfinished, status.running), (0, 0));
    }
}
