//! Compares the relay and `save` with the broker's and the database's own rates:
//! `make bench-relay`.
//!
//! PostgreSQL and RabbitMQ, a classic durable queue, persistent messages with bodies of about 200
//! bytes; latency on all three databases. The compared variants are measured in turn in each round,
//! and each figure is the median of the rounds, so that the ratios do not depend on the machine.
//! The results are printed as a table and written to `target/bench-relay.json`.
//!
//! Arguments select parts: `drain`, `latency`, `save`, `footprint`, and `queues`, which runs only if it is
//! named (`make bench-queues`). `BENCH_ROWS` and `BENCH_ROUNDS` make it shorter and less precise.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod broker;
mod drain;
mod figures;
mod footprint;
mod idle_times;
mod latency;
mod outbox;
mod process;
mod program;
mod queue;
mod queue_types;
mod report;
mod save;

use outbox_test_support as support;

use figures::{is_chosen, is_named, median, number, rate};
use report::Report;

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Size {
    /// Rows drained per round.
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
    if is_named("queues") {
        queue_types::measure(size, &mut report);
    }
    report.print();
    report.write("target/bench-relay.json");
}
