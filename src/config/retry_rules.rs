//! Settings that apply to one destination or stream.

use std::collections::HashMap;

use super::from_value::FromValue;
use super::limits::is_stream;
use super::{Config, WhenExhausted, key};
use crate::retry_policy::RetryPolicy;

/// Parses `/queue/mail attempts=3 first_delay=5s`. A time is one word: `1m30s`.
pub(super) fn retry_of(rule: &str) -> Option<(&str, RetryPolicy)> {
    let mut words = rule.split_whitespace();
    let destination = words.next().filter(|name| !name.contains('='))?;
    let mut change = RetryPolicy::default();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let config = read(name, value)?;
        match name {
            "attempts" => put(&mut change.attempts, config.retry_attempts),
            "first_delay" => put(&mut change.first_delay, config.retry_first_delay),
            "maximum_delay" => put(&mut change.maximum_delay, config.retry_maximum_delay),
            "factor" => put(&mut change.factor, config.retry_factor),
            "jitter" => put(&mut change.jitter, config.retry_jitter),
            _ => None,
        }?;
    }
    (change != RetryPolicy::default()).then_some((destination, change))
}

/// Settings with a value for `retry_` and this name, which has the limits of that setting.
fn read(name: &str, value: &str) -> Option<Config> {
    let key = key::find(&format!("retry_{name}"))?;
    let mut config = Config::default();
    (key.read)(&mut config, &value.into()).ok()?;
    (key.check)(&config).ok()?;
    Some(config)
}

/// Puts a value in a place that is empty.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

/// Parses `audit=park`.
fn when_exhausted_of(rule: &str) -> Option<(&str, WhenExhausted)> {
    let (stream, what) = rule.rsplit_once('=')?;
    let what = WhenExhausted::from_value(&what.into()).ok()?;
    is_stream(stream).then_some((stream, what))
}

pub(super) fn is_retry_rule(rule: &str) -> bool {
    retry_of(rule).is_some()
}

pub(super) fn is_exhausted_rule(rule: &str) -> bool {
    when_exhausted_of(rule).is_some()
}

impl Config {
    /// The retry settings of single destinations.
    pub(crate) fn retry_changes(&self) -> HashMap<String, RetryPolicy> {
        let rules = self.retry_of.iter().filter_map(|rule| retry_of(rule));
        rules
            .map(|(name, change)| (name.to_owned(), change))
            .collect()
    }

    /// What happens to the key of an exhausted row, for each stream that has a rule.
    pub(crate) fn when_exhausted_in_streams(&self) -> HashMap<String, WhenExhausted> {
        let rules = self.when_exhausted_of.iter();
        rules
            .filter_map(|rule| when_exhausted_of(rule))
            .map(|(name, what)| (name.to_owned(), what))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rule_contains_what_differs() {
        let (destination, change) =
            retry_of("/queue/mail attempts=3 first_delay=1m30s factor=1.5 jitter=0").unwrap();
        assert_eq!(destination, "/queue/mail");
        let expected = RetryPolicy::new()
            .attempts(3)
            .first_delay(Duration::from_secs(90))
            .factor(1.5)
            .jitter(0.0);
        assert_eq!(change, expected);
        assert_eq!(
            when_exhausted_of("a=b=park"),
            Some(("a=b", WhenExhausted::Park)),
            "a stream may have any name"
        );
    }

    /// The policy of a function has the limits of the settings.
    #[test]
    fn a_policy_has_the_limits_of_a_rule() {
        let new = RetryPolicy::new;
        let year = Duration::from_secs(365 * 24 * 3600);
        let ms = Duration::from_millis;
        for (policy, rule) in [
            (new().attempts(0), "attempts=0"),
            (new().attempts(1), "attempts=1"),
            (new().attempts(1_000_000), "attempts=1000000"),
            (new().attempts(1_000_001), "attempts=1000001"),
            (
                new().first_delay(Duration::from_micros(500)),
                "first_delay=500us",
            ),
            (new().first_delay(ms(1)), "first_delay=1ms"),
            (new().maximum_delay(year), "maximum_delay=365days"),
            (
                new().maximum_delay(year + ms(1)),
                "maximum_delay=31536000001ms",
            ),
            (new().factor(0.9), "factor=0.9"),
            (new().factor(1.0), "factor=1"),
            (new().factor(100.0), "factor=100"),
            (new().factor(100.5), "factor=100.5"),
            (new().jitter(-0.1), "jitter=-0.1"),
            (new().jitter(0.0), "jitter=0"),
            (new().jitter(1.0), "jitter=1"),
            (new().jitter(1.1), "jitter=1.1"),
        ] {
            let rule = format!("/queue/a {rule}");
            let expected = policy.check().is_ok().then_some(("/queue/a", policy));
            assert_eq!(retry_of(&rule), expected, "{rule}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_none() {
        for rule in [
            "",
            "/queue/a",
            "attempts=3",
            "/queue/a attempts=0",
            "/queue/a attempts=3 attempts=4",
            "/queue/a factor=0.5",
            "/queue/a jitter=NaN",
            "/queue/a first_delay=0s",
            "/queue/a first_delay",
            "/queue/a tries=3",
        ] {
            assert_eq!(retry_of(rule), None, "{rule}");
        }
        for rule in ["", "a", "=park", "a=drop"] {
            assert_eq!(when_exhausted_of(rule), None, "{rule}");
        }
    }
}
