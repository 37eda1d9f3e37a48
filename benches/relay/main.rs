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
mod figures;
mod footprint;
mod latency;
mod outbox;
mod program;
mod queue;
mod report;
mod save;

use figures::{broker, is_chosen, median, number, rate};
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
    let mut report = Report::default();
    if is_chosen("drain") {
        drain::measure(size, &mut report);
    }
    if is_chosen("save") {
        save::measure(size, &mut report);
    }
    if is_chosen("latency") {
        latency::measure(&mut report);
    }
    if is_chosen("footprint") {
        footprint::measure(size, &mut report);
    }
    report.print();
    report.write("target/bench-relay.json");
}
