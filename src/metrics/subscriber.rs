//! The messages of a subscriber.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::database_errors::DatabaseErrors;
use super::handles::{Counter, Histogram, counter, histogram};
use super::level::Level;
use super::series;

/// Why a message goes to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadCause {
    /// Its callback failed.
    Failed,
    /// Its callback discarded it.
    Discarded,
    /// Attempts at it ended with their processes.
    Crashed,
    /// It cannot be read.
    Unreadable,
}

/// The series of a subscriber.
#[derive(Debug)]
pub(crate) struct SubscriberMetrics {
    received: Counter,
    duplicates: Counter,
    failed: Counter,
    discarded: Counter,
    crashed: Counter,
    unreadable: Counter,
    lag: Histogram,
    handled: Histogram,
    running: Level,
    pub(crate) database_errors: DatabaseErrors,
    pub(crate) reconnects: Counter,
}

impl SubscriberMetrics {
    /// The series for this callback, which exist from now on.
    pub(crate) fn new(callback: &str) -> Self {
        let dead = |reason| counter(series::INBOX_DEAD_LETTERED, &[callback, reason]);
        Self {
            received: counter(series::INBOX_RECEIVED, &[callback]),
            duplicates: counter(series::INBOX_DUPLICATES, &[callback]),
            failed: dead("failed"),
            discarded: dead("discarded"),
            crashed: dead("crashed"),
            unreadable: dead("unreadable"),
            lag: histogram(series::INBOX_LAG, &[callback]),
            handled: histogram(series::INBOX_HANDLED, &[callback]),
            running: Level::new(series::IN_FLIGHT),
            database_errors: DatabaseErrors::default(),
            reconnects: counter(series::RECONNECTS, &[]),
        }
    }

    /// A message has arrived.
    pub(crate) fn received(&self) {
        self.received.increment(1);
    }

    /// The effect of a message that was written and has arrived at these times is committed.
    pub(crate) fn done(&self, written: Option<DateTime<Utc>>, arrived: Instant) {
        self.handled.record(arrived.elapsed().as_secs_f64());
        if let Some(written) = written {
            let lag: Duration = (Utc::now() - written).to_std().unwrap_or_default();
            self.lag.record(lag.as_secs_f64());
        }
    }

    /// The effect of a message was there already.
    pub(crate) fn duplicate(&self) {
        self.duplicates.increment(1);
    }

    /// A message goes to the dead letters.
    pub(crate) fn dead(&self, cause: DeadCause) {
        let counter = match cause {
            DeadCause::Failed => &self.failed,
            DeadCause::Discarded => &self.discarded,
            DeadCause::Crashed => &self.crashed,
            DeadCause::Unreadable => &self.unreadable,
        };
        counter.increment(1);
    }

    pub(crate) fn running(&mut self, callbacks: usize) {
        self.running.set(callbacks);
    }
}
