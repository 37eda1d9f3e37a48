//! Settings that hold for one destination or stream.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::value::FromValue;
use super::{Config, WhenSpent};

pub(super) const FACTOR: RangeInclusive<f64> = 1.0..=100.0;
pub(super) const JITTER: RangeInclusive<f64> = 0.0..=1.0;
const ATTEMPTS: RangeInclusive<u32> = 1..=1_000_000;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a destination's retry policy has of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RetryChange {
    pub(crate) attempts: Option<u32>,
    pub(crate) first_delay: Option<Duration>,
    pub(crate) maximum_delay: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) jitter: Option<f64>,
}

/// `/queue/mail attempts=3 first_delay=5s`. A time is one word: `1m30s`.
pub(super) fn retry_of(rule: &str) -> Option<(&str, RetryChange)> {
    let mut words = rule.split_whitespace();
    let destination = words.next().filter(|name| !name.contains('='))?;
    let mut change = RetryChange::default();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let is_new = match name {
            "attempts" => put(&mut change.attempts, value, &ATTEMPTS),
            "first_delay" => put(&mut change.first_delay, value, &times()),
            "maximum_delay" => put(&mut change.maximum_delay, value, &times()),
            "factor" => put(&mut change.factor, value, &FACTOR),
            "jitter" => put(&mut change.jitter, value, &JITTER),
            _ => None,
        };
        is_new?;
    }
    (change != RetryChange::default()).then_some((destination, change))
}

fn times() -> RangeInclusive<Duration> {
    Duration::from_millis(1)..=YEAR
}

/// Puts a value that is within its limits in a place that is empty.
fn put<T: FromValue + PartialOrd>(
    place: &mut Option<T>,
    text: &str,
    limits: &RangeInclusive<T>,
) -> Option<()> {
    let value = T::from_value(&text.into()).ok()?;
    (place.is_none() && limits.contains(&value)).then(|| *place = Some(value))
}

/// `audit=park`.
pub(super) fn when_spent_of(rule: &str) -> Option<(&str, WhenSpent)> {
    let (stream, what) = rule.rsplit_once('=')?;
    let fits = !stream.is_empty() && stream.chars().count() <= 100;
    Some((stream, WhenSpent::parse(what)?)).filter(|_| fits)
}

impl WhenSpent {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "block" => Some(Self::Block),
            "park" => Some(Self::Park),
            _ => None,
        }
    }
}

impl Config {
    /// The retry policies of destinations.
    pub(crate) fn retry_changes(&self) -> HashMap<String, RetryChange> {
        let rules = self.retry_of.iter().filter_map(|rule| retry_of(rule));
        rules
            .map(|(name, change)| (name.to_owned(), change))
            .collect()
    }

    /// What becomes of spent rows, for each stream that has a rule.
    pub(crate) fn when_spent_in_streams(&self) -> HashMap<String, WhenSpent> {
        let rules = self.when_spent_of.iter();
        rules
            .filter_map(|rule| when_spent_of(rule))
            .map(|(name, what)| (name.to_owned(), what))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_differs() {
        let (destination, change) =
            retry_of("/queue/mail attempts=3 first_delay=1m30s factor=1.5 jitter=0").unwrap();
        assert_eq!(destination, "/queue/mail");
        let expected = RetryChange {
            attempts: Some(3),
            first_delay: Some(Duration::from_secs(90)),
            maximum_delay: None,
            factor: Some(1.5),
            jitter: Some(0.0),
        };
        assert_eq!(change, expected);
        assert_eq!(
            when_spent_of("a=b=park"),
            Some(("a=b", WhenSpent::Park)),
            "a stream may have any name"
        );
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
            assert_eq!(when_spent_of(rule), None, "{rule}");
        }
    }
}
