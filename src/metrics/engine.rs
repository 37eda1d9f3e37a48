//! What a relay and an executor have in common.

use std::collections::HashSet;
use std::time::Duration;

use super::by_label::ByLabel;
use super::database_errors::DatabaseErrors;
use super::handles::{Counter, Gauge, Histogram, counter, gauge, histogram};
use super::level::Level;
use super::series;

/// Why a row is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkCause {
    /// All its attempts have failed.
    Exhausted,
    /// It cannot be delivered as it is.
    Unsendable,
    /// It has expired.
    Expired,
}

/// The series of an engine, whatever it delivers.
#[derive(Debug)]
pub(crate) struct EngineMetrics {
    deferred: Counter,
    lease_lost: Counter,
    reclaimed: Counter,
    claim_duration: Histogram,
    in_flight: Level,
    pub(crate) database_errors: DatabaseErrors,
    circuits: ByLabel<Gauge>,
    /// The values of the label for which the circuit is shown as open.
    open: HashSet<String>,
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self {
            deferred: counter(series::DEFERRED, &[]),
            lease_lost: counter(series::LEASE_LOST, &[]),
            reclaimed: counter(series::RECLAIMED, &[]),
            claim_duration: histogram(series::CLAIM_DURATION, &[]),
            in_flight: Level::new(series::IN_FLIGHT),
            database_errors: DatabaseErrors::default(),
            circuits: ByLabel::new(|destination| gauge(series::CIRCUIT_OPEN, &[destination])),
            open: HashSet::new(),
        }
    }
}

impl EngineMetrics {
    /// A claim has ended; of its rows this number had been leased before.
    pub(crate) fn claimed(&self, took: Duration, reclaimed: usize) {
        self.claim_duration.record(took.as_secs_f64());
        self.reclaimed.increment(reclaimed as u64);
    }

    /// A row was released or postponed, and no attempt counts.
    pub(crate) fn deferred(&self) {
        self.deferred.increment(1);
    }

    /// The results of rows were not recorded.
    pub(crate) fn lease_lost(&self, rows: usize) {
        self.lease_lost.increment(rows as u64);
    }

    pub(crate) fn in_flight(&mut self, rows: usize) {
        self.in_flight.set(rows);
    }

    /// These destinations have an open circuit, and no others.
    pub(crate) fn circuits(&mut self, open: &[String]) {
        let open: HashSet<String> = open
            .iter()
            .map(|destination| self.circuits.name(destination).to_owned())
            .collect();
        for closed in self.open.difference(&open) {
            self.circuits.of(closed).set(0.0);
        }
        for destination in &open {
            self.circuits.of(destination).set(1.0);
        }
        self.open = open;
    }
}

/// The series of parked rows.
#[derive(Debug)]
pub(crate) struct ParkedMetrics {
    by_target: ByLabel<[Counter; 3]>,
    expired: Counter,
}

impl Default for ParkedMetrics {
    fn default() -> Self {
        Self {
            by_target: ByLabel::new(|target| {
                let reasons = ["exhausted", "unsendable", "expired"];
                reasons.map(|reason| counter(series::PARKED, &[target, reason]))
            }),
            expired: counter(series::EXPIRED, &[]),
        }
    }
}

impl ParkedMetrics {
    /// A row with this destination, or a call with this name, was parked.
    pub(crate) fn parked(&mut self, target: &str, cause: ParkCause) {
        let [exhausted, unsendable, expired] = self.by_target.of(target);
        match cause {
            ParkCause::Exhausted => exhausted.increment(1),
            ParkCause::Unsendable => unsendable.increment(1),
            ParkCause::Expired => {
                expired.increment(1);
                self.expired.increment(1);
            }
        }
    }
}
