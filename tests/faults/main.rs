//! Writers, publishers and a consumer at work while an adversary causes faults: the laws hold
//! at the end.
//!
//! The faults come from a seed, which is printed; `OUTBOX_TEST_SEED` repeats them as far as
//! the timing allows. `make soak` makes it longer: `OUTBOX_TEST_FAULTS`, `OUTBOX_TEST_ROWS`, and
//! restarts, alarms and full queues on the suite's own servers.
#![cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod adversary;
mod calls;
mod clock;
mod consumer;
mod executor;
mod journal;
mod publisher;
mod sabotage;
mod stopped;
mod subscriber;
mod verdict;
mod victim;
mod whole_way;
mod world;
mod writer;

use outbox_test_support as support;
use outbox_test_support::amqp;
use outbox_test_support::program;

use std::sync::Arc;

use adversary::{Adversary, OF_MESSAGES};
use clock::Clock;
use consumer::Consumer;
use program::wait_until;
use victim::Victim;
use world::{Subject, World};
use writer::Writer;

/// Receipts awaited at a time: this bounds the duplicates.
const WINDOW: usize = 32;
const PUBLISHERS: usize = 3;
const WRITERS: usize = 2;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

fn survive<C: Subject>(world: Option<World>) {
    let Some(world) = world else { return };
    let seed = number(
        "OUTBOX_TEST_SEED",
        usize::try_from(rand::random::<u32>()).unwrap(),
    );
    let (faults, rows) = (
        number("OUTBOX_TEST_FAULTS", 12),
        number("OUTBOX_TEST_ROWS", 3_000),
    );
    eprintln!(
        "{}: OUTBOX_TEST_SEED={seed}, {faults} faults, {rows} rows",
        C::NAME
    );

    let consumer = Consumer::start(&world);
    let progress = Arc::new(writer::Progress::default());
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|n| {
            let plan = writer::messages(n, world.destination());
            Writer::start::<C>(&world, n, rows / WRITERS, seed, &progress, plan)
        })
        .collect();
    let publishers: Vec<Victim> = (0..PUBLISHERS)
        .map(|n| publisher::start_with::<C>(&world, Clock::of::<C>(n)))
        .collect();

    let mut adversary = Adversary::new::<C>(&world, publishers, Some(&consumer), OF_MESSAGES, seed);
    for fault in 1..=faults {
        // The same amount is written for each fault.
        progress.allow(rows / WRITERS * fault / faults);
        adversary.strike();
    }
    let (publishers, report) = adversary.leave();
    eprintln!("{}: {report:?}", C::NAME);

    let written: Vec<writer::Written> = writers.into_iter().map(Writer::finish).collect();
    wait_until("all rows are sent", || world.waiting::<C>() == 0);
    wait_until("all messages arrive", || {
        consumer.arrived() >= world.sent::<C>()
    });
    publishers.into_iter().for_each(Victim::stop);
    verdict::judge::<C>(&world, &written, &consumer, &report);
}

#[test]
fn postgres_and_rabbitmq_survive() {
    survive::<diesel::PgConnection>(World::new::<diesel::PgConnection>(support::postgres::<
        diesel::PgConnection,
    >()));
}

#[test]
fn mysql_and_rabbitmq_survive() {
    survive::<diesel::MysqlConnection>(World::new::<diesel::MysqlConnection>(support::mysql::<
        diesel::MysqlConnection,
    >()));
}

#[test]
fn sqlite_and_rabbitmq_survive() {
    survive::<diesel::SqliteConnection>(World::new::<diesel::SqliteConnection>(Some(
        support::sqlite::<diesel::SqliteConnection>(),
    )));
}
