//! The numbers of the last hour, for the charts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::store::{Sampled, Store};
use crate::admin::{Rows, Status};

/// Time between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);
/// How long samples are kept.
pub(super) const KEPT: Duration = Duration::from_secs(3600);

/// The samples of the last hour.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<VecDeque<Sample>>);

/// The numbers at a moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: DateTime<Utc>,
    /// None: the database did not answer.
    numbers: Option<[Numbers; 2]>,
    read: Option<[Sampled; 2]>,
}

/// The numbers of messages, or of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Numbers {
    /// Rows that were written in a second; none: not known.
    pub(super) written: Option<f64>,
    /// Rows that were sent or executed in a second; none: not known.
    pub(super) done: Option<f64>,
    /// How long the oldest row could have been claimed.
    pub(super) lag: Duration,
}

impl Sample {
    /// The numbers, if the database has answered.
    pub(super) fn of(&self, rows: Rows) -> Option<Numbers> {
        self.numbers.map(|numbers| numbers[place(rows)])
    }
}

fn place(rows: Rows) -> usize {
    match rows {
        Rows::Messages => 0,
        Rows::Calls => 1,
    }
}

impl Samples {
    /// Takes a sample.
    pub(super) async fn take(&self, store: &dyn Store) {
        let last = self.last();
        let since = last.as_ref().map(|last| last.at);
        let sample = match store.sample(since).await {
            Ok(read) => {
                let before = last.as_ref().and_then(|last| last.read.as_ref());
                let seconds = since.map_or(0.0, |since| seconds(since, read.now));
                let of =
                    |at: usize| numbers(before.map(|before| &before[at]), &read.found[at], seconds);
                Sample {
                    at: read.now,
                    numbers: Some([of(0), of(1)]),
                    read: Some(read.found),
                }
            }
            Err(error) => {
                tracing::debug!(error = %error, "could not read the numbers for the charts");
                Sample {
                    at: Utc::now(),
                    numbers: None,
                    read: None,
                }
            }
        };
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old =
            |sample: &Sample| seconds(sample.at, sample_end(&samples)) > KEPT.as_secs_f64();
        let old = samples.iter().take_while(|sample| is_old(sample)).count();
        samples.drain(..old);
        samples.push_back(sample);
    }

    fn last(&self) -> Option<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.back().cloned()
    }

    /// The samples, the oldest first.
    pub(super) fn all(&self) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().cloned().collect()
    }
}

fn sample_end(samples: &VecDeque<Sample>) -> DateTime<Utc> {
    samples.back().map_or_else(Utc::now, |last| last.at)
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

/// The numbers of a sample, with the rates since the one before. What was written and is not among the rows that wait
/// or are parked was sent.
#[allow(clippy::cast_precision_loss)] // numbers of rows
fn numbers(before: Option<&Sampled>, now: &Sampled, seconds: f64) -> Numbers {
    let lag = lag(&now.status);
    let unknown = Numbers {
        lag,
        ..Numbers::default()
    };
    let Some(before) = before.filter(|_| seconds > 0.0) else {
        return unknown;
    };
    let written = now.written.succeeded + now.written.still_waiting;
    let growth = |of: fn(&Sampled) -> Option<i64>| Some(of(now)? - of(before)?);
    let left = growth(|it| it.written.waiting)
        .zip(growth(|it| it.written.parked))
        .map(|(waiting, parked)| waiting + parked);
    Numbers {
        written: Some(written as f64 / seconds),
        done: left.map(|left| (written - left).max(0) as f64 / seconds),
        lag,
    }
}

/// How long the oldest row could have been claimed.
pub(super) fn lag(status: &Status) -> Duration {
    let ages = status.streams.iter().map(|stream| stream.oldest_claimable);
    ages.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::WrittenRows;

    fn sampled(succeeded: i64, still_waiting: i64, waiting: Option<i64>) -> Sampled {
        Sampled {
            status: Status::default(),
            written: WrittenRows {
                succeeded,
                still_waiting,
                waiting,
                parked: Some(0),
            },
        }
    }

    #[test]
    fn rates_follow_from_two_samples() {
        let first = sampled(0, 0, Some(100));
        let unknown = numbers(None, &first, 10.0);
        assert_eq!((unknown.written, unknown.done), (None, None));
        // 50 were written, and 20 fewer wait: 70 were sent.
        let second = sampled(10, 40, Some(80));
        let rates = numbers(Some(&first), &second, 10.0);
        assert_eq!((rates.written, rates.done), (Some(5.0), Some(7.0)));
        let too_many = sampled(10, 40, None);
        let rates = numbers(Some(&first), &too_many, 10.0);
        assert_eq!((rates.written, rates.done), (Some(5.0), None));
    }
}
