//! Something that is away: told once, asked again ever more rarely, told when it is back.

use std::error::Error;
use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// The state of something that may be away.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    pauses: ExponentialBackoff,
}

impl Outage {
    /// `what` is named in log lines; `longest` bounds the pause between two attempts.
    pub(crate) fn new(what: &'static str, longest: Duration) -> Self {
        Self {
            what,
            since: None,
            pauses: ExponentialBackoff {
                max_interval: longest,
                // Its default gives up after a quarter of an hour.
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
        }
    }

    /// Notes a failed attempt and returns how long to wait before the next one.
    pub(crate) fn noticed(&mut self, error: &dyn Error) -> Duration {
        let what = self.what;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(error = %error, "{what} is away; trying again until it is back");
        } else {
            tracing::debug!(error = %error, "{what} is still away");
        }
        self.pause()
    }

    /// How long to wait before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = self.pauses.max_interval;
        self.pauses.next_backoff().unwrap_or(longest)
    }

    /// Whether it is away.
    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Notes a success.
    pub(crate) fn over(&mut self) {
        if self.told_over() {
            self.reset();
        }
    }

    /// Tells that it is back, but keeps the pauses as long as they have grown.
    pub(crate) fn told_over(&mut self) -> bool {
        let Some(since) = self.since.take() else {
            return false;
        };
        let away = Duration::from_secs(since.elapsed().as_secs());
        tracing::info!(away = %humantime::format_duration(away), "{} is back", self.what);
        true
    }

    /// Begins the pauses anew.
    pub(crate) fn reset(&mut self) {
        self.pauses.reset();
    }
}
