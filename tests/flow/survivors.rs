//! A relay and a subscriber that outlast a fault of their database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel_outbox::{Message, Outcome, Payload, Registry};

use crate::faults::Running;
use crate::log::Log;
use crate::place::{Consumer, Place, Subject, wait_until};

/// More than `callback_attempts`, so that a counted attempt would show.
const FAILURES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Survivors<'a, C: Subject> {
    place: &'a Place,
    /// An address that the fault does not affect.
    look: String,
    relay: Running,
    relayed: Log,
    consumer: Consumer,
    consumed: Log,
    /// The number of messages so far: one through the broker only, the others through the outbox too.
    rows: i64,
    messages: i64,
    connection: std::marker::PhantomData<fn() -> C>,
}

impl<'a, C: Subject> Survivors<'a, C> {
    /// On the database at `url`, inspected through `look`. The queue must be declared.
    pub(crate) fn start(place: &'a Place, url: &str, look: String) -> Self {
        let registry = Registry::<C>::new().on(
            "it",
            |conn: &mut C,
             _: &Payload|
             -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
                conn.batch_execute("insert into effects (note) values ('x')")?;
                Ok(Outcome::Done)
            },
        );
        Self::start_with(place, url, look, &registry)
    }

    pub(crate) fn start_with(
        place: &'a Place,
        url: &str,
        look: String,
        registry: &Registry<C>,
    ) -> Self {
        let settings = || {
            place
                .settings()
                .set("database_url", url)
                .set("database_timeout", "400ms")
                .set("maximum_backoff", "1s")
                .set("lease", "5s")
                .set("receipt_timeout", "3s")
                .set("workers", 2)
        };
        let (consumer, consumed) = place.subscribe_logged(registry, &settings().build().unwrap());
        let (relay, relayed) = Running::logged::<C>(settings());
        Self {
            place,
            look,
            relay,
            relayed,
            consumer,
            consumed,
            rows: 0,
            messages: 0,
            connection: std::marker::PhantomData,
        }
    }

    /// Rows that were written before the fault.
    pub(crate) fn with_rows(mut self, rows: i64) -> Self {
        self.rows = rows;
        self.messages = rows;
        self
    }

    /// Sends a message to the subscriber, through the broker only.
    pub(crate) fn send(&mut self) {
        self.place.send(Message::new(self.place.topic(), "sent"));
        self.messages += 1;
    }

    /// Writes rows for the relay.
    pub(crate) fn write(&mut self, rows: i64) {
        self.write_delayed(rows, Duration::ZERO);
    }

    /// The same, due later.
    pub(crate) fn write_delayed(&mut self, rows: i64, delay: Duration) {
        let mut conn = C::establish(&self.look).unwrap();
        for n in 0..rows {
            Message::new(self.place.topic(), n)
                .delay(delay)
                .publish(&mut conn)
                .unwrap();
        }
        self.rows += rows;
        self.messages += rows;
    }

    /// Waits until both have met the fault several times, which the database reports by this text.
    pub(crate) fn suffer(&mut self, words: &str) {
        for (who, log) in [("relay", &self.relayed), ("subscriber", &self.consumed)] {
            let (before, deadline) = (log.outages(words), Instant::now() + PATIENCE);
            while log.outages(words) < before + FAILURES {
                let is_late = Instant::now() >= deadline;
                assert!(
                    !is_late,
                    "the {who} does not meet `{words}`: {}",
                    log.text()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Waits until all is sent and handled.
    pub(crate) fn recover(&mut self) {
        let (rows, messages) = (self.rows, self.messages);
        wait_until("all rows are sent", || {
            self.number("select count(*) from published where status = 2") == Some(rows)
        });
        wait_until("all messages have their effect", || {
            self.number("select count(*) from effects") == Some(messages)
        });
    }

    /// The number that a query selects; `None` if no login is possible, or if the server ends after it.
    pub(crate) fn number(&self, query: &str) -> Option<i64> {
        C::establish(&self.look).ok()?.try_number(query).ok()
    }

    /// Stops both. The fault must not count for any row or message.
    pub(crate) fn end(self) -> (Log, Log) {
        let blamed = [
            "select count(*) from published where retry <> 0 or last_error is not null",
            "select count(*) from received where retry <> 0",
            "select count(*) from outbox_deliveries",
        ];
        for query in blamed {
            assert_eq!(self.number(query), Some(0), "{query}");
        }
        let sent = self.relay.stop();
        assert_eq!((sent.failed, sent.parked), (0, 0));
        let handled = self.consumer.stop();
        assert_eq!(handled.dead, 0, "{}", self.consumed.text());
        // A COMMIT whose answer was lost makes the next attempt a duplicate.
        let all = handled.done + handled.duplicates;
        assert!(all >= self.messages as u64, "{handled:?}");
        (self.relayed, self.consumed)
    }
}

/// Counts calls.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// The number of calls before this one.
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
