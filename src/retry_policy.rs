//! When something that failed is tried again.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What an exhausted row does to its ordering key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenExhausted {
    /// The row is parked and blocks its key until an operator retries or skips it.
    #[default]
    Block,
    /// The row is parked, and later rows of its key continue.
    Park,
}

/// When the failed calls of a function are executed again. What is not set is the setting of the executor.
///
/// ```
/// use std::time::Duration;
///
/// use diesel_outbox::calls::{Call, RetryPolicy, WhenExhausted};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Charge {
///     order: i64,
/// }
///
/// impl Call for Charge {
///     const NAME: &'static str = "shop.charge";
///     // After 5 s, 15 s, 45 s, … up to 1 h, each up to 20 % longer or shorter.
///     const RETRY: RetryPolicy = RetryPolicy::new()
///         .attempts(12)
///         .first_delay(Duration::from_secs(5))
///         .factor(3.0)
///         .maximum_delay(Duration::from_secs(3600))
///         .jitter(0.2)
///         .when_exhausted(WhenExhausted::Park);
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RetryPolicy {
    pub(crate) attempts: Option<u32>,
    pub(crate) first_delay: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) maximum_delay: Option<Duration>,
    pub(crate) jitter: Option<f64>,
    pub(crate) when_exhausted: Option<WhenExhausted>,
}

/// Why an executor does not start with a [`RetryPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryPolicyError {
    /// A value is not allowed.
    #[error("`{option}` must be {allowed}")]
    NotAllowed {
        /// The name of the method that sets it.
        option: &'static str,
        /// The values that are allowed.
        allowed: &'static str,
    },
    /// The maximum pause is shorter than the first one.
    #[error("`maximum_delay` is shorter than `first_delay`")]
    MaximumBelowFirst,
}

/// The limits of the settings `retry_first_delay` and `retry_maximum_delay`.
const DELAYS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);

impl RetryPolicy {
    /// The settings of the executor.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: None,
            first_delay: None,
            factor: None,
            maximum_delay: None,
            jitter: None,
            when_exhausted: None,
        }
    }

    /// The number of failed attempts after which a call is parked, from 1 to 1,000,000; outages do not count.
    /// Setting `retry_attempts`.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// The pause after the first failed attempt, from 1 ms to 365 days. Setting `retry_first_delay`.
    #[must_use]
    pub const fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = Some(delay);
        self
    }

    /// The factor by which the pause grows with each failed attempt, from 1 to 100. Setting `retry_factor`.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// The maximum pause, from 1 ms to 365 days. Setting `retry_maximum_delay`, or
    /// [`first_delay`](Self::first_delay) if that is longer.
    #[must_use]
    pub const fn maximum_delay(mut self, delay: Duration) -> Self {
        self.maximum_delay = Some(delay);
        self
    }

    /// The random part of a pause, from 0 to 1: 0.2 makes it up to 20 % longer or shorter. Setting
    /// `retry_jitter`.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// What a parked call does to its ordering key. Settings `when_exhausted_of` and `when_exhausted`.
    #[must_use]
    pub const fn when_exhausted(mut self, what: WhenExhausted) -> Self {
        self.when_exhausted = Some(what);
        self
    }

    /// Checks the limits, which are those of the settings.
    ///
    /// # Errors
    ///
    /// [`RetryPolicyError`] if a value is outside its limits, or the maximum pause is shorter than the first one.
    pub fn check(&self) -> Result<(), RetryPolicyError> {
        let delay = |delay: Option<Duration>| delay.is_none_or(|it| DELAYS.contains(&it));
        let number = |number: Option<f64>, allowed: RangeInclusive<f64>| {
            number.is_none_or(|it| allowed.contains(&it))
        };
        let time = "a time from 1ms to 365 days";
        let attempts = self.attempts.is_none_or(|it| (1..=1_000_000).contains(&it));
        for (is_allowed, option, allowed) in [
            (attempts, "attempts", "a whole number from 1 to 1000000"),
            (delay(self.first_delay), "first_delay", time),
            (
                number(self.factor, 1.0..=100.0),
                "factor",
                "a number from 1 to 100",
            ),
            (delay(self.maximum_delay), "maximum_delay", time),
            (
                number(self.jitter, 0.0..=1.0),
                "jitter",
                "a number from 0 to 1",
            ),
        ] {
            if !is_allowed {
                return Err(RetryPolicyError::NotAllowed { option, allowed });
            }
        }
        match (self.first_delay, self.maximum_delay) {
            (Some(first), Some(maximum)) if maximum < first => {
                Err(RetryPolicyError::MaximumBelowFirst)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: RetryPolicy) -> Option<&'static str> {
        match policy.check() {
            Ok(()) => None,
            Err(RetryPolicyError::NotAllowed { option, .. }) => Some(option),
            Err(RetryPolicyError::MaximumBelowFirst) => Some("both"),
        }
    }

    #[test]
    fn values_outside_their_limits_are_refused() {
        let new = RetryPolicy::new;
        let (ms, year) = (Duration::from_millis, Duration::from_secs(365 * 24 * 3600));
        assert_eq!(new().check(), Ok(()));
        let least = new().attempts(1).first_delay(ms(1)).factor(1.0);
        assert_eq!(least.maximum_delay(ms(1)).jitter(0.0).check(), Ok(()));
        let most = new().attempts(1_000_000).first_delay(year).factor(100.0);
        assert_eq!(most.maximum_delay(year).jitter(1.0).check(), Ok(()));
        for (policy, option) in [
            (new().attempts(0), "attempts"),
            (new().attempts(1_000_001), "attempts"),
            (new().first_delay(Duration::from_micros(999)), "first_delay"),
            (new().factor(0.99), "factor"),
            (new().factor(f64::NAN), "factor"),
            (new().factor(100.5), "factor"),
            (new().maximum_delay(year + ms(1)), "maximum_delay"),
            (new().jitter(-0.1), "jitter"),
            (new().jitter(f64::INFINITY), "jitter"),
            (new().first_delay(ms(3)).maximum_delay(ms(2)), "both"),
        ] {
            assert_eq!(refused(policy), Some(option), "{policy:?}");
        }
    }
}
