//! A rate over the last minute.

use std::time::Duration;

use tokio::time::Instant;

const SECONDS: usize = 60;

/// Counts events by the second, for one minute.
#[derive(Debug)]
pub(crate) struct Rate {
    counts: [u64; SECONDS],
    /// The start of the current second, and the number of full seconds before it.
    current: Option<(Instant, usize)>,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            counts: [0; SECONDS],
            current: None,
        }
    }
}

impl Rate {
    pub(crate) fn count(&mut self, now: Instant) {
        let second = self.advance(now);
        self.counts[second % SECONDS] += 1;
    }

    /// Events per second over the last minute, or since the first event if that is less.
    pub(crate) fn per_second(&mut self, now: Instant) -> f64 {
        if self.current.is_none() {
            return 0.0;
        }
        let full_seconds = self.advance(now).min(SECONDS - 1);
        #[allow(clippy::cast_precision_loss)] // a rate for people
        let (events, seconds) = (self.counts.iter().sum::<u64>() as f64, full_seconds as f64);
        events / seconds.max(1.0)
    }

    /// Moves on to the present second and returns its number.
    fn advance(&mut self, now: Instant) -> usize {
        let (start, second) = *self.current.get_or_insert((now, 0));
        let passed = now.saturating_duration_since(start).as_secs();
        if passed == 0 {
            return second;
        }
        let steps = usize::try_from(passed).unwrap_or(usize::MAX);
        for step in 1..=steps.min(SECONDS) {
            self.counts[(second + step) % SECONDS] = 0;
        }
        let second = second.saturating_add(steps);
        self.current = Some((start + Duration::from_secs(passed), second));
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_minute() {
        let mut rate = Rate::default();
        assert!(rate.per_second(Instant::now()).abs() < f64::EPSILON);
        for _ in 0..300 {
            for _ in 0..10 {
                rate.count(Instant::now());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let now = rate.per_second(Instant::now());
        assert!((now - 10.0).abs() < 0.5, "{now}");
        tokio::time::advance(Duration::from_secs(30)).await;
        let now = rate.per_second(Instant::now());
        assert!((now - 5.0).abs() < 0.5, "{now}");
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(rate.per_second(Instant::now()).abs() < f64::EPSILON);
    }
}
