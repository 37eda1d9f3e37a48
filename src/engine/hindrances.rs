//! Rows whose delivery the database or the network interrupted, and the pauses before they are tried again.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;

use crate::backend::RowKey;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// Doublings after which the pause does not grow.
const DOUBLINGS: u32 = 20;
/// Rows that are remembered.
const MOST: usize = 10_000;

/// How often in a row the deliveries of rows were interrupted.
#[derive(Debug)]
pub(crate) struct Hindrances {
    longest: Duration,
    rows: HashMap<RowKey, u32>,
}

impl Hindrances {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            longest,
            rows: HashMap::new(),
        }
    }

    /// The pause after another interruption of a row, up to 50 % shorter or longer.
    pub(crate) fn pause(&mut self, row: RowKey) -> Duration {
        if self.rows.len() >= MOST && !self.rows.contains_key(&row) {
            self.rows.clear();
        }
        let times = self.rows.entry(row).or_insert(0);
        let pause = FIRST.saturating_mul(1 << (*times).min(DOUBLINGS));
        *times += 1;
        let jitter = rand::rng().random_range(0.5..=1.5);
        pause.min(self.longest).mul_f64(jitter)
    }

    /// A delivery of the row ended in another way.
    pub(super) fn over(&mut self, row: RowKey) {
        // Most often there are none.
        if !self.rows.is_empty() {
            self.rows.remove(&row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_another_end() {
        let mut hindrances = Hindrances::new(Duration::from_secs(60));
        let row = RowKey {
            seq: 1,
            id: uuid::Uuid::nil(),
        };
        let within = |pause: Duration, even: f64| {
            let share = pause.as_secs_f64() / even;
            assert!((0.499..=1.501).contains(&share), "{pause:?}, {even}");
        };
        for even in [0.05, 0.1, 0.2, 0.4] {
            within(hindrances.pause(row), even);
        }
        for _ in 0..40 {
            hindrances.pause(row);
        }
        within(hindrances.pause(row), 60.0);
        hindrances.over(row);
        within(hindrances.pause(row), 0.05);
    }
}
