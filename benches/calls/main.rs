//! Compares writing and executing function calls with hand-written code: `make bench-calls`.
//!
//! PostgreSQL; latency on all three databases. The compared variants are measured in turn in each round, and
//! each figure is the median of the rounds, so that the ratios do not depend on the machine. The results are
//! printed as a table and written to `target/bench-calls.json`.
//!
//! Arguments select parts: `write`, `execute`, `latency`, `memory`. `BENCH_ROWS` and `BENCH_ROUNDS` make it
//! shorter and less precise.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../relay/figures.rs"]
mod figures;
#[path = "../relay/idle_times.rs"]
mod idle_times;
#[path = "../relay/process.rs"]
mod process;
#[path = "../relay/report.rs"]
mod report;

mod by_hand;
mod child;
mod execute;
mod functions;
mod latency;
mod memory;
mod outbox;
mod write;

use outbox_test_support as support;

use figures::{is_chosen, median, number, rate};
use report::Report;

/// The size of the measurement.
#[derive(Clone, Copy)]
struct Size {
    /// Calls per round.
    calls: i64,
    rounds: usize,
}

fn main() {
    if child::is_child() {
        child::run();
        return;
    }
    let size = Size {
        calls: number("BENCH_ROWS").unwrap_or(20_000),
        rounds: number("BENCH_ROUNDS").unwrap_or(5),
    };
    let mut report = Report::default();
    if is_chosen("write") {
        write::measure(size, &mut report);
    }
    if is_chosen("execute") {
        execute::measure(size, &mut report);
    }
    if is_chosen("latency") {
        latency::measure(&mut report);
    }
    if is_chosen("memory") {
        memory::measure(size, &mut report);
    }
    report.print();
    report.write("target/bench-calls.json");
}
