//! Compares the inbox with hand-written code: `make bench-inbox`.
//!
//! PostgreSQL and RabbitMQ, a classic durable queue, persistent messages with bodies of about 200
//! bytes, a callback that inserts one row. The compared variants are measured in turn in each
//! round, and each figure is the median of the rounds, so that the ratios do not depend on the
//! machine. The results are printed as a table and written to `target/bench-inbox.json`.
//!
//! Arguments select parts: `transactions`, `client`, `full`. `BENCH_ROWS` and `BENCH_ROUNDS` make
//! it shorter and less precise.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

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

use figures::{broker, is_chosen, median, number, rate};
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
        transactions(rows, rounds, &mut report);
    }
    if is_chosen("client") {
        client(rows, rounds, &mut report);
    }
    if is_chosen("full") {
        full(rows, rounds, &mut report);
    }
    report.print();
    report.write("target/bench-inbox.json");
}

/// One and eight workers, compared with as many hand-written loops.
fn transactions(rows: usize, rounds: usize, report: &mut Report) {
    let mut inbox = Inbox::new();
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut peaks = Vec::new();
    for round in 1..=rounds {
        eprintln!("transactions, round {round} of {rounds}");
        for (n, workers) in [(0, 1), (2, 8)] {
            let queue = Queue::filled(rows);
            times[n].push(hand_written::consume(
                &inbox.database.url,
                &queue,
                rows,
                workers,
            ));
            inbox.empty();
            queue.fill(rows);
            let (took, peak) = subscriber::consume(&inbox.database.url, &queue, rows, workers);
            times[n + 1].push(took);
            if workers == 8 {
                peaks.push(peak);
            }
            assert_eq!(inbox.effects(), rows);
            inbox.empty();
            for (name, times) in [("by hand", &times[n]), ("subscriber", &times[n + 1])] {
                let last = rate(rows, times[times.len() - 1]);
                eprintln!("  {last:5.0} messages/s  {name}, {workers}");
            }
        }
    }
    let [one_by_hand, one, eight_by_hand, eight] = times.map(|times| rate(rows, median(times)));
    for (workers, by_hand, own, goal) in [
        ("one", one_by_hand, one, 0.8),
        ("eight", eight_by_hand, eight, 0.7),
    ] {
        let what = format!("{workers} by hand, beside a bare consumer");
        report.add(&what, format!("{by_hand:.0} messages/s"), 1.0, Goal::None);
        let what = format!("{workers} of `workers`");
        let ratio = own / by_hand;
        report.add(
            &what,
            format!("{own:.0} messages/s"),
            ratio,
            Goal::AtLeast(goal),
        );
    }
    let peak = peaks.into_iter().max().unwrap_or(0);
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let mebibytes = peak as f64 / 1024.0 / 1024.0;
    report.add(
        "memory: eight workers, peak of the process",
        format!("{mebibytes:.1} MiB"),
        mebibytes,
        Goal::AtMost(32.0),
    );
}

/// The STOMP client without a database, compared with a plain socket.
fn client(rows: usize, rounds: usize, report: &mut Report) {
    let rows = rows * 4;
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 1..=rounds {
        eprintln!("client, round {round} of {rounds}");
        let queue = Queue::filled(rows);
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
    let mut empty = Inbox::new();
    let full = Inbox::with(THERE);
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 1..=rounds {
        eprintln!("full, round {round} of {rounds}");
        for (inbox, times) in [&empty, &full].into_iter().zip(&mut times) {
            let queue = Queue::filled(rows);
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
