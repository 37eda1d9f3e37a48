//! What the relay and `save` cost beside what is possible: `make bench-relay`.
//!
//! PostgreSQL with RabbitMQ, classic durable queue, persistent, bodies of about 200 bytes; latency
//! on all three databases. What is compared is measured in turn, in rounds, and each figure is the
//! median of the rounds, so that the ratios hold on any machine. The results are printed as a table
//! and written to `target/bench-relay.json`.
//!
//! Words on the command line choose parts: `drain`, `latency`, `save`, `footprint`. With
//! `BENCH_ROWS` and `BENCH_ROUNDS` it is shorter, and says less.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod drain;
mod footprint;
mod latency;
mod outbox;
mod program;
mod queue;
mod report;
mod save;

use std::time::Duration;

use report::Report;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    /// Rows drained in a round.
    rows: i64,
    rounds: usize,
}

fn main() {
    let size = Size {
        rows: number("BENCH_ROWS").unwrap_or(50_000),
        rounds: usize::try_from(number("BENCH_ROUNDS").unwrap_or(5)).unwrap(),
    };
    // Cargo's own flag is among the words.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let chosen = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let mut report = Report::default();
    if chosen("drain") {
        drain::measure(size, &mut report);
    }
    if chosen("save") {
        save::measure(size, &mut report);
    }
    if chosen("latency") {
        latency::measure(&mut report);
    }
    if chosen("footprint") {
        footprint::measure(size, &mut report);
    }
    report.print();
    report.write("target/bench-relay.json");
}

fn number(variable: &str) -> Option<i64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number")),
    )
}

/// The address of the broker.
fn broker() -> String {
    let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ");
    url.expect("run `make bench-relay`, which brings up the servers")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn rate(rows: i64, time: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rows = rows as f64;
    rows / time.as_secs_f64()
}
