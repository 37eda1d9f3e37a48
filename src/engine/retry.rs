//! What happens to a row after a failed attempt.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;

use crate::backend::{Claimed, FailureAction};
use crate::config::{Config, WhenExhausted};
use crate::retry_policy::RetryPolicy;

/// A retry rule: pauses that grow exponentially, with jitter, and a maximum number of attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RetryRule {
    attempts: u32,
    first: Duration,
    longest: Duration,
    factor: f64,
    jitter: f64,
}

impl RetryRule {
    fn changed(self, change: &RetryPolicy) -> Self {
        let first = change.first_delay.unwrap_or(self.first);
        Self {
            attempts: change.attempts.unwrap_or(self.attempts),
            first,
            // A function with a long first pause need not know the setting.
            longest: change
                .maximum_delay
                .unwrap_or_else(|| self.longest.max(first)),
            factor: change.factor.unwrap_or(self.factor),
            jitter: change.jitter.unwrap_or(self.jitter),
        }
    }

    /// The pause before the next attempt of a row with `before` earlier failures. `None` if its attempts are
    /// exhausted.
    fn pause(&self, before: i32) -> Option<Duration> {
        let is_exhausted = u32::try_from(before)
            .unwrap_or(0)
            .saturating_add(1)
            .ge(&self.attempts);
        let jitter = rand::rng().random_range(1.0 - self.jitter..=1.0 + self.jitter);
        (!is_exhausted).then(|| self.even_pause(before).mul_f64(jitter))
    }

    fn even_pause(&self, before: i32) -> Duration {
        let longest = self.longest.as_secs_f64();
        let pause = self.first.as_secs_f64() * self.factor.powi(before.max(0));
        // NaN is impossible, because the first delay is never 0. An infinite pause takes the other branch.
        if pause < longest {
            Duration::from_secs_f64(pause)
        } else {
            self.longest
        }
    }
}

/// The retry rules: the default, those of destinations, and what streams do with exhausted rows.
#[derive(Debug, Clone)]
pub(crate) struct RetryRules {
    default_rule: RetryRule,
    of_destination: HashMap<String, RetryRule>,
    when_exhausted_at: HashMap<String, WhenExhausted>,
    when_exhausted: WhenExhausted,
    when_exhausted_in: HashMap<String, WhenExhausted>,
}

impl RetryRules {
    pub(crate) fn new(config: &Config) -> Self {
        let default_rule = RetryRule {
            attempts: config.retry_attempts,
            first: config.retry_first_delay,
            longest: config.retry_maximum_delay,
            factor: config.retry_factor,
            jitter: config.retry_jitter,
        };
        let changes = config.retry_changes().into_iter();
        Self {
            default_rule,
            of_destination: changes
                .map(|(destination, change)| (destination, default_rule.changed(&change)))
                .collect(),
            when_exhausted_at: HashMap::new(),
            when_exhausted: config.when_exhausted,
            when_exhausted_in: config.when_exhausted_in_streams(),
        }
    }

    /// The rules of functions, each with its policy.
    #[cfg(feature = "calls")]
    pub(crate) fn of_calls(config: &Config, functions: &[(&str, RetryPolicy)]) -> Self {
        let rules = Self::new(config);
        let functions = || {
            functions
                .iter()
                .map(|(name, policy)| ((*name).to_owned(), policy))
        };
        Self {
            of_destination: functions()
                .map(|(name, policy)| (name, rules.default_rule.changed(policy)))
                .collect(),
            when_exhausted_at: functions()
                .filter_map(|(name, policy)| Some((name, policy.when_exhausted?)))
                .collect(),
            ..rules
        }
    }

    /// What happens to a row after another failed attempt.
    pub(crate) fn action(&self, row: &Claimed) -> FailureAction {
        let rule = self.of_destination.get(&row.destination);
        let pause = rule.unwrap_or(&self.default_rule).pause(row.retry);
        pause.map_or_else(|| self.parked(row), FailureAction::Retry)
    }

    /// How a row is parked.
    pub(crate) fn parked(&self, row: &Claimed) -> FailureAction {
        let of_destination = self.when_exhausted_at.get(&row.destination);
        let of_stream = || self.when_exhausted_in.get(row.stream.as_ref()?);
        match of_destination
            .or_else(of_stream)
            .unwrap_or(&self.when_exhausted)
        {
            WhenExhausted::Block => FailureAction::Park,
            WhenExhausted::Park => FailureAction::ParkAndSkip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_then_the_row_is_parked() {
        let rules = RetryRules::new(&Config::default());
        let rule = rules.default_rule;
        let pauses: Vec<u64> = (0..8)
            .map(|before| rule.even_pause(before).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(rule.even_pause(i32::MAX).as_secs(), 60);
        let pause = rule.pause(3).unwrap();
        assert!((6.4..=9.6).contains(&pause.as_secs_f64()), "{pause:?}");
        assert!(rule.pause(48).is_some());
        assert_eq!(rule.pause(49), None);
    }

    #[test]
    fn the_longest_times_and_factors_do_not_overflow() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let rule = RetryRule {
            attempts: u32::MAX,
            first: year,
            longest: year,
            factor: 100.0,
            jitter: 1.0,
        };
        assert!(rule.pause(i32::MAX).unwrap() <= 2 * year);
        assert!(rule.pause(i32::MIN).unwrap() <= 2 * year);
    }

    #[cfg(feature = "calls")]
    #[tokio::test]
    async fn functions_have_policies_of_their_own() {
        let config = Config::builder()
            .set("retry_maximum_delay", "60s")
            .set("when_exhausted_of", "audit=park")
            .build()
            .unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let policy = RetryPolicy::new()
            .attempts(3)
            .first_delay(minutes(5))
            .factor(3.0)
            .jitter(0.0);
        let long = policy
            .maximum_delay(minutes(10))
            .when_exhausted(WhenExhausted::Block);
        let functions = [("short", policy), ("long", long)];
        let rules = RetryRules::of_calls(&config, &functions);
        let mut row = row(1, Some("k"), "short").claimed;
        row.stream = Some("audit".to_owned());
        // The setting of the maximum is shorter than the first pause.
        for (function, second, exhausted) in [
            ("short", minutes(5), FailureAction::ParkAndSkip),
            ("long", minutes(10), FailureAction::Park),
        ] {
            row.destination = function.to_owned();
            row.retry = 0;
            assert_eq!(rules.action(&row), FailureAction::Retry(minutes(5)));
            row.retry = 1;
            assert_eq!(rules.action(&row), FailureAction::Retry(second));
            row.retry = 2;
            assert_eq!(rules.action(&row), exhausted, "{function}");
        }
    }

    #[tokio::test]
    async fn destinations_and_streams_have_rules_of_their_own() {
        let config = Config::builder()
            .set("retry_of", "/queue/b attempts=2 first_delay=5s jitter=0")
            .set("when_exhausted_of", "audit=park")
            .build()
            .unwrap();
        let rules = RetryRules::new(&config);
        let mut row = row(1, Some("k"), "/queue/b").claimed;
        let five = Duration::from_secs(5);
        assert_eq!(rules.action(&row), FailureAction::Retry(five));
        row.retry = 1;
        assert_eq!(rules.action(&row), FailureAction::Park);
        row.stream = Some("audit".to_owned());
        assert_eq!(rules.action(&row), FailureAction::ParkAndSkip);
        row.destination = "/queue/a".to_owned();
        assert!(matches!(rules.action(&row), FailureAction::Retry(_)));
    }
}
