//! Whether the database works, and the pauses after its errors.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::db::DbError;
use crate::runtime::outage::Outage;

/// Failures by contention in a row after which a relay warns; a relay that runs once ends. With their
/// pauses they take about half a minute.
const CONTENTIONS: u32 = 40;
/// How long connections may be lost, with no success between, before the database counts as unreachable, and the
/// pause before the next attempt.
const LOST_FOR: Duration = Duration::from_secs(1);
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// The state of the database as its errors show it.
#[derive(Debug)]
pub(super) struct DatabaseHealth {
    outage: Outage,
    /// Failures in a row because of other transactions.
    contentions: u32,
    /// When the first connection was lost since the last success.
    lost_first: Option<Instant>,
    once: bool,
}

impl DatabaseHealth {
    /// `once`: an outage ends the relay.
    pub(super) fn new(maximum_backoff: Duration, once: bool) -> Self {
        Self {
            outage: Outage::of_database(maximum_backoff),
            contentions: 0,
            lost_first: None,
            once,
        }
    }

    /// Whether the database is unreachable.
    pub(super) fn is_unreachable(&self) -> bool {
        self.outage.is_on()
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        self.outage.over();
        self.contentions = 0;
        self.lost_first = None;
    }

    /// Notes an error and returns the pause before the next attempt. `None` if a relay that runs once ends
    /// with this error.
    pub(super) fn failed(&mut self, error: &DbError) -> Option<Duration> {
        if error.is_contention() {
            // The database works.
            self.contentions += 1;
            if self.contentions == CONTENTIONS {
                tracing::warn!(
                    error = %error,
                    attempts = self.contentions,
                    "other transactions have been in the way for long; retrying"
                );
            }
            let is_last = self.once && self.contentions > CONTENTIONS;
            return (!is_last).then(|| contention_pause(self.contentions));
        }
        // The server may have closed an idle connection; a new one shows whether the database is unreachable.
        if error.is_lost_connection() && !self.outage.is_on() {
            let first = *self.lost_first.get_or_insert_with(Instant::now);
            if first.elapsed() < LOST_FOR {
                tracing::debug!(error = %error, "a database connection is lost; trying another one");
                return Some(LOST_PAUSE);
            }
        }
        (!self.once).then(|| self.outage.pause_after(error))
    }
}

/// 10 ms, doubling to 1 s, each up to 50 % shorter or longer, so that relays do not meet again.
fn contention_pause(failures: u32) -> Duration {
    let pause =
        Duration::from_millis(10 << failures.saturating_sub(1).min(7)).min(Duration::from_secs(1));
    pause.mul_f64(rand::rng().random_range(0.5..=1.5))
}
