//! A message on its way through the subscriber.

use std::time::{Duration, Instant};

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use chrono::{DateTime, Utc};

use super::Settings;
use super::lanes::Ticket;
use crate::payload::Payload;
use crate::stomp::{Delivery, Kept};

/// A message, and what became of it so far.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) delivery: Delivery,
    pub(super) payload: Payload,
    /// As long as it is here, its bytes count as received and not handled.
    pub(super) kept: Option<Kept>,
    /// The subscription's connection that it came through, counted from the first one.
    pub(super) session: u64,
    pub(super) course: Course,
}

impl Job {
    pub(super) fn new(
        (delivery, kept): (Delivery, Kept),
        settings: &Settings,
        session: u64,
    ) -> Self {
        let payload = Payload::new(&delivery, &settings.id_headers, &settings.consumer);
        Self {
            delivery,
            payload,
            kept: Some(kept),
            session,
            course: Course::default(),
        }
    }

    /// Messages of one lane are handled one after another. Two deliveries of one message are of one
    /// lane too, so that the second finds what became of the first.
    pub(super) fn lane(&self, settings: &Settings) -> &str {
        if settings.workers == 1 {
            return "";
        }
        let key = self.payload.header(&settings.key_header);
        key.unwrap_or_else(|| self.payload.msg_id())
    }
}

/// A message's failures.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// The callback's own failures, and when the first and the last one were.
    pub(super) failures: u32,
    pub(super) first: Option<DateTime<Utc>>,
    pub(super) last: Option<DateTime<Utc>>,
    pauses: Option<ExponentialBackoff>,
    losses: Option<ExponentialBackoff>,
    contentions: Option<ExponentialBackoff>,
    /// Since when others are in the way, and whether that was told.
    hindered: Option<(Instant, bool)>,
}

impl Course {
    /// The callback has failed by itself.
    pub(super) fn failed(&mut self) {
        let now = Utc::now();
        self.hindered = None;
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

    /// The pause before the next attempt after the message lost a database that is there for others.
    pub(super) fn lost(&mut self, settings: &Settings) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        self.hindered = None;
        let pauses = self
            .losses
            .get_or_insert_with(|| doubling(FIRST, settings.longest_delay));
        pauses.next_backoff().unwrap_or(settings.longest_delay)
    }

    /// Whether it lost the database before: then nothing that it loses again is taken on trust.
    pub(super) fn has_lost(&self) -> bool {
        self.losses.is_some()
    }

    /// Others are in the way; returns for how long already, once if that is long.
    pub(super) fn hindered(&mut self, now: Instant) -> Option<Duration> {
        const LONG: Duration = Duration::from_secs(30);
        let (since, is_told) = self.hindered.get_or_insert((now, false));
        let time = now.saturating_duration_since(*since);
        if *is_told || time < LONG {
            return None;
        }
        *is_told = true;
        Some(time)
    }

    /// The pause before the next attempt after others were in the way.
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
        // Its default gives up after a quarter of an hour.
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    pauses.reset();
    pauses
}

/// A message that a worker has, with its place.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
    /// Whether nothing else is handled beside it.
    pub(super) is_alone: bool,
}

impl Taken {
    /// The same for another worker. Its bytes still count with the worker that is stuck with it.
    pub(super) fn again(&self) -> Self {
        Self {
            ticket: self.ticket.clone(),
            job: Job {
                delivery: self.job.delivery.clone(),
                payload: self.job.payload.clone(),
                kept: None,
                session: self.job.session,
                course: self.job.course.clone(),
            },
            is_alone: self.is_alone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_contention_is_told_once() {
        let (mut course, begun) = (Course::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(course.hindered(at(0)), None);
        assert_eq!(course.hindered(at(29)), None);
        assert_eq!(course.hindered(at(31)), Some(Duration::from_secs(31)));
        assert_eq!(course.hindered(at(90)), None, "once");
        // What comes after something else is another one.
        course.failed();
        assert_eq!(course.hindered(at(100)), None);
        assert_eq!(course.hindered(at(129)), None);
        assert_eq!(course.hindered(at(130)), Some(Duration::from_secs(30)));
    }
}
