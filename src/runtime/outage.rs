//! Outages: one log line when one begins, attempts with growing backoff, and one log line when it is over.

use std::error::Error;
use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::db::is_unexplained;

/// The state of something that may not be available, such as a database.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    pauses: ExponentialBackoff,
}

/// Longest pause between two attempts to reach a database. An attempt costs little, and a whole program
/// waits for it.
const LONGEST_FOR_DATABASE: Duration = Duration::from_secs(30);

impl Outage {
    /// For a database. The longest pause between two attempts is `longest`, at most 30 s.
    pub(crate) fn of_database(longest: Duration) -> Self {
        Self::new("the database", longest.min(LONGEST_FOR_DATABASE))
    }

    /// `what` is the name in log lines, `longest` the longest pause between two attempts.
    pub(crate) fn new(what: &'static str, longest: Duration) -> Self {
        Self {
            what,
            since: None,
            pauses: ExponentialBackoff {
                max_interval: longest,
                // The default stops after 15 minutes.
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
        }
    }

    /// Notes a failed attempt and returns the pause before the next one.
    pub(crate) fn pause_after(&mut self, error: &(dyn Error + 'static)) -> Duration {
        let what = self.what;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            if is_unexplained(error) {
                tracing::warn!(error = %error, "{what} refuses a statement; retrying");
            } else {
                tracing::warn!(error = %error, "{what} is not available; retrying");
            }
        } else {
            tracing::debug!(error = %error, "{what} is not available yet");
        }
        self.pause()
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = self.pauses.max_interval;
        // The jitter is added to the longest interval.
        let pause = self.pauses.next_backoff();
        pause.map_or(longest, |pause| pause.min(longest))
    }

    /// Whether there is an outage.
    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Notes a success.
    pub(crate) fn over(&mut self) {
        if self.log_end() {
            self.reset();
        }
    }

    /// Logs the end of the outage and keeps the grown pauses. Returns false if there was no outage.
    pub(crate) fn log_end(&mut self) -> bool {
        let Some(since) = self.since.take() else {
            return false;
        };
        let after = Duration::from_secs(since.elapsed().as_secs());
        tracing::info!(after = %humantime::format_duration(after), "{} is available again", self.what);
        true
    }

    /// Resets the pauses.
    pub(crate) fn reset(&mut self) {
        self.pauses.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_never_waited_for_longer_than_half_a_minute() {
        let longest = |mut outage: Outage| (0..50).map(|_| outage.pause()).max().unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(longest(Outage::of_database(hour)), LONGEST_FOR_DATABASE);
        let second = Duration::from_secs(1);
        assert_eq!(longest(Outage::of_database(second)), second);
        assert!(longest(Outage::new("the subscription", hour)) > LONGEST_FOR_DATABASE);
    }
}
