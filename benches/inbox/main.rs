//! Compares the inbox with hand-written code: `make bench-inbox`.
//!
//! PostgreSQL and RabbitMQ, a classic durable queue, persistent messages with bodies of about 200
//! bytes, a callback that inserts one row. The compared variants are measured in turn in each
//! round, and each figure is the median of the rounds, so that the ratios do not depend on the
//! machine. The results are printed as a table and written to `target/bench-inbox.json`.
//!
//! Arguments select parts: `transactions`, `client`, `full`, and `queues`, which runs only if it is named
//! (`make bench-queues`). `BENCH_ROWS` and `BENCH_ROUNDS` make it shorter and less precise.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../relay/broker.rs"]
mod broker;
#[path = "../relay/figures.rs"]
mod figures;
#[path = "../relay/process.rs"]
mod process;
#[path = "../relay/report.rs"]
mod report;

mod hand_written;
mod inbox;
mod queue;
mod raw_socket;
mod subscriber;

use outbox_test_support as support;

use std::time::Duration;

use broker::Broker;
use figures::{is_chosen, is_named, median, number, rate};
use inbox::Inbox;
use queue::Queue;
use report::{Goal, Report};

/// For the STOMP client and for the plain socket.
const PREFETCH: usize = 128;

fn main() {
    if subscriber::is_child() {
        subscriber::run();
        return;
    }
    let rows = number("BENCH_ROWS").unwrap_or(20_000);
    let rounds = number("BENCH_ROUNDS").unwrap_or(5);
    let mut report = Report::default();
    if is_chosen("transactions") {
        transactions(&[Broker::usual()], rows, rounds, &mut report);
    }
    if is_chosen("client") {
        client(rows, rounds, &mut report);
    }
    if is_chosen("full") {
        full(rows, rounds, &mut report);
    }
    if is_named("queues") {
        transactions(&Broker::all(), rows, rounds, &mut report);
    }
    report.print();
    report.write("target/bench-inbox.json");
}

/// The times of hand-written loops and of the subscriber at one broker.
#[derive(Default)]
struct Times {
    /// By hand and by the subscriber, with one worker and with eight.
    taken: [Vec<Duration>; 4],
    peak_memory: u64,
}

/// One and eight workers, compared with as many hand-written loops, at each broker.
fn transactions(brokers: &[Broker], rows: usize, rounds: usize, report: &mut Report) {
    let mut inbox = Inbox::new();
    let mut times: Vec<Times> = brokers.iter().map(|_| Times::default()).collect();
    let names = Broker::prefixes(brokers);
    for round in 1..=rounds {
        eprintln!("transactions, round {round} of {rounds}");
        for ((broker, name), times) in brokers.iter().zip(&names).zip(&mut times) {
            for (n, workers) in [(0, 1), (2, 8)] {
                let queue = Queue::filled(broker, rows);
                let by_hand = hand_written::consume(&inbox.database.url, &queue, rows, workers);
                inbox.empty();
                queue.fill(rows);
                let (own, peak) = subscriber::consume(&inbox.database.url, &queue, rows, workers);
                assert_eq!(inbox.effects(), rows);
                inbox.empty();
                for (what, took) in [("by hand", by_hand), ("subscriber", own)] {
                    let last = rate(rows, took);
                    eprintln!("  {last:5.0} messages/s  {name}{what}, {workers}");
                }
                times.taken[n].push(by_hand);
                times.taken[n + 1].push(own);
                times.peak_memory = times.peak_memory.max(peak);
            }
        }
    }
    for (name, times) in names.iter().zip(times) {
        let [one_by_hand, one, eight_by_hand, eight] =
            times.taken.map(|times| rate(rows, median(times)));
        for (workers, by_hand, own, goal) in [
            ("one", one_by_hand, one, 0.8),
            ("eight", eight_by_hand, eight, 0.7),
        ] {
            let what = format!("{name}{workers} by hand, beside a bare consumer");
            report.add(&what, format!("{by_hand:.0} messages/s"), 1.0, Goal::None);
            let what = format!("{name}{workers} of `workers`");
            let ratio = own / by_hand;
            report.add(
                &what,
                format!("{own:.0} messages/s"),
                ratio,
                Goal::AtLeast(goal),
            );
        }
        #[allow(clippy::cast_precision_loss)] // a figure for people
        let mebibytes = times.peak_memory as f64 / 1024.0 / 1024.0;
        report.add(
            &format!("{name}memory: the subscriber's peak"),
            format!("{mebibytes:.1} MiB"),
            mebibytes,
            Goal::AtMost(32.0),
        );
    }
}

/// The STOMP client without a database, compared with a plain socket.
fn client(rows: usize, rounds: usize, report: &mut Report) {
    let rows = rows * 4;
    let broker = Broker::usual();
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 1..=rounds {
        eprintln!("client, round {round} of {rounds}");
        let queue = Queue::filled(&broker, rows);
        times[0].push(raw_socket::consume(&queue, rows));
        queue.fill(rows);
        times[1].push(queue.consume(rows));
        for (name, times) in [("socket", &times[0]), ("client", &times[1])] {
            let last = rate(rows, times[times.len() - 1]);
            eprintln!("  {last:5.0} messages/s  {name}");
        }
    }
    let [socket, client] = times.map(|times| rate(rows, median(times)));
    report.add(
        "a bare socket that takes and acknowledges, prefetch 128",
        format!("{socket:.0} messages/s"),
        1.0,
        Goal::None,
    );
    report.add(
        "our STOMP client that does the same",
        format!("{client:.0} messages/s"),
        client / socket,
        Goal::AtLeast(0.9),
    );
}

/// An inbox with 5,000,000 rows, compared with an empty one.
fn full(rows: usize, rounds: usize, report: &mut Report) {
    const THERE: usize = 5_000_000;
    let broker = Broker::usual();
    let mut empty = Inbox::new();
    let full = Inbox::with(THERE);
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 1..=rounds {
        eprintln!("full, round {round} of {rounds}");
        for (inbox, times) in [&empty, &full].into_iter().zip(&mut times) {
            let queue = Queue::filled(&broker, rows);
            let (took, _) = subscriber::consume(&inbox.database.url, &queue, rows, 8);
            eprintln!("  {:5.0} messages/s", rate(rows, took));
            times.push(took);
        }
        empty.empty();
    }
    let [empty, full] = times.map(|times| rate(rows, median(times)));
    report.add(
        "eight workers, an empty inbox",
        format!("{empty:.0} messages/s"),
        1.0,
        Goal::None,
    );
    report.add(
        "eight workers, beside 5,000,000 rows of the inbox",
        format!("{full:.0} messages/s"),
        full / empty,
        Goal::AtLeast(0.9),
    );
}
