//! The results of the rows of a relay.

use tokio::time::Instant;

use super::by_label::ByLabel;
use super::handles::{Counter, Histogram, counter, histogram};
use super::series;
use crate::engine::row::Row;

/// The series of the rows that a relay sends.
#[derive(Debug)]
pub(crate) struct RelayMetrics {
    published: ByLabel<Counter>,
    failed: ByLabel<[Counter; 2]>,
    lag: Histogram,
    confirm: Histogram,
}

impl Default for RelayMetrics {
    fn default() -> Self {
        Self {
            published: ByLabel::new(|destination| counter(series::PUBLISHED, &[destination])),
            failed: ByLabel::new(|destination| {
                let reasons = ["refused", "connection_closed"];
                reasons.map(|reason| counter(series::FAILED, &[destination, reason]))
            }),
            lag: histogram(series::DELIVERY_LAG, &[]),
            confirm: histogram(series::CONFIRM_DURATION, &[]),
        }
    }
}

impl RelayMetrics {
    /// The receipt for a row has arrived.
    pub(crate) fn published(&mut self, row: &Row) {
        if !cfg!(feature = "metrics") {
            return;
        }
        let now = Instant::now();
        self.published.of(&row.claimed.destination).increment(1);
        let lag = row.claimed.wait.time + now.saturating_duration_since(row.claimed_at);
        self.lag.record(lag.as_secs_f64());
        if let Some(started) = row.started {
            let took = now.saturating_duration_since(started);
            self.confirm.record(took.as_secs_f64());
        }
    }

    /// An attempt has failed. `is_closed`: the broker closed the connection at the row.
    pub(crate) fn failed(&mut self, row: &Row, is_closed: bool) {
        let [refused, closed] = self.failed.of(&row.claimed.destination);
        if is_closed { closed } else { refused }.increment(1);
    }
}
