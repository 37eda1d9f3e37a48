//! A message on its way through the subscriber.

use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use chrono::{DateTime, Utc};

use super::key_lanes::Ticket;
use super::settings::Settings;
use crate::broker::Broker;
use crate::callback::Payload;
use crate::stomp::{Delivery, Kept};

/// A message and its attempts so far.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) delivery: Delivery,
    pub(super) payload: Payload,
    /// While it exists, the message's bytes count as received and not handled.
    pub(super) kept: Option<Kept>,
    /// The number of the connection that it was received on.
    pub(super) session: u64,
    /// Whether it is a redelivery, or may be one.
    pub(super) is_again: bool,
    /// When it arrived.
    pub(super) arrived: Instant,
    pub(super) retries: Retries,
}

impl Job {
    pub(super) fn new(
        (delivery, kept): (Delivery, Kept),
        settings: &Settings,
        session: u64,
        may_be_again: bool,
        broker: Broker,
    ) -> Self {
        let payload = Payload::new(
            &delivery,
            &settings.id_headers,
            &settings.consumer,
            &settings.queue.name,
            broker,
        );
        Self {
            is_again: may_be_again || payload.is_redelivered(),
            delivery,
            payload,
            kept: Some(kept),
            session,
            arrived: Instant::now(),
            retries: Retries::default(),
        }
    }

    /// The message's lane. Messages of one lane are handled one after another. Two deliveries of one message
    /// have the same lane, so that the second finds the inbox row of the first.
    pub(super) fn lane(&self, settings: &Settings) -> &str {
        if settings.workers == 1 {
            return "";
        }
        let key = self.payload.header(&settings.key_header);
        key.unwrap_or_else(|| self.payload.msg_id())
    }
}

/// A message's failures and the pauses between its attempts.
#[derive(Debug, Clone, Default)]
pub(super) struct Retries {
    /// The callback's own failures, and when the first and the last one were.
    pub(super) failures: u32,
    pub(super) first: Option<DateTime<Utc>>,
    pub(super) last: Option<DateTime<Utc>>,
    pauses: Option<ExponentialBackoff>,
    losses: Option<ExponentialBackoff>,
    contentions: Option<ExponentialBackoff>,
    /// Since when other transactions block the message, and whether that was logged.
    contended: Option<(Instant, bool)>,
}

impl Retries {
    /// Counts a failure of the callback's own.
    pub(super) fn failed(&mut self) {
        let now = Utc::now();
        self.contended = None;
        self.failures += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// The pause before the next attempt after a failure of the callback's own.
    pub(super) fn pause(&mut self, settings: &Settings) -> Duration {
        let pauses = self
            .pauses
            .get_or_insert_with(|| doubling(settings.first_delay, settings.longest_delay));
        pauses.next_backoff().unwrap_or(settings.longest_delay)
    }

    /// The pause before the next attempt after the database failed for this message only.
    pub(super) fn lost(&mut self, settings: &Settings) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        self.contended = None;
        let pauses = self
            .losses
            .get_or_insert_with(|| doubling(FIRST, settings.longest_delay));
        pauses.next_backoff().unwrap_or(settings.longest_delay)
    }

    /// Whether the database failed for this message before: then its next attempt runs with a second connection beside it.
    pub(super) fn has_lost(&self) -> bool {
        self.losses.is_some()
    }

    /// Another transaction blocks the message. Returns since how long, once, if that is long.
    pub(super) fn contended(&mut self, now: Instant) -> Option<Duration> {
        const LONG: Duration = Duration::from_secs(30);
        let (since, is_logged) = self.contended.get_or_insert((now, false));
        let time = now.saturating_duration_since(*since);
        if *is_logged || time < LONG {
            return None;
        }
        *is_logged = true;
        Some(time)
    }

    /// The pause before the next attempt after another transaction blocked the message.
    pub(super) fn short_pause(&mut self) -> Duration {
        const FIRST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_secs(1);
        let pauses = self
            .contentions
            .get_or_insert_with(|| doubling(FIRST, LONGEST));
        pauses.next_backoff().unwrap_or(LONGEST)
    }
}

fn doubling(first: Duration, longest: Duration) -> ExponentialBackoff {
    let mut pauses = ExponentialBackoff {
        initial_interval: first,
        max_interval: longest,
        multiplier: 2.0,
        // The default ends after 15 minutes.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    pauses.reset();
    pauses
}

/// A message that a worker has, with its place in the lanes.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
    /// Whether nothing else is handled beside it.
    pub(super) is_alone: bool,
}

impl Taken {
    /// The same message for another worker. Its bytes still count with the stuck worker.
    pub(super) fn again(&self) -> Self {
        Self {
            ticket: self.ticket.clone(),
            job: Job {
                delivery: self.job.delivery.clone(),
                payload: self.job.payload.clone(),
                kept: None,
                session: self.job.session,
                is_again: self.job.is_again,
                arrived: self.job.arrived,
                retries: self.job.retries.clone(),
            },
            is_alone: self.is_alone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_contention_is_logged_once() {
        let (mut retries, begun) = (Retries::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(retries.contended(at(0)), None);
        assert_eq!(retries.contended(at(29)), None);
        assert_eq!(retries.contended(at(31)), Some(Duration::from_secs(31)));
        assert_eq!(retries.contended(at(90)), None, "once");
        // After a failure of its own it is counted anew.
        retries.failed();
        assert_eq!(retries.contended(at(100)), None);
        assert_eq!(retries.contended(at(129)), None);
        assert_eq!(retries.contended(at(130)), Some(Duration::from_secs(30)));
    }
}
