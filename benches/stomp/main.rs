//! What the STOMP layer costs beside what is possible: `make bench-stomp`.
//!
//! Decoding and encoding beside tokio-stomp-2's codec, decoding beside a search for one byte in the
//! same bytes as well; the memory of a connection at rest; SEND with receipts on RabbitMQ. What is
//! compared is measured in turn, in rounds, and each figure is the median of the rounds, of their
//! ratios where it is one. The results are printed as a table and written to `target/bench-stomp.json`.
//!
//! Words on the command line choose parts: `decode`, `encode`, `rest`, `windows`. With
//! `BENCH_ROUNDS` and `BENCH_ROWS` it is shorter, and says less.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../relay/figures.rs"]
mod figures;
#[path = "../relay/queue.rs"]
mod queue;
#[path = "../relay/report.rs"]
mod report;

mod bodies;
mod decode;
mod encode;
mod rest;
mod windows;

use figures::{broker, is_chosen, median, number, rate};
use report::Report;

fn main() {
    if rest::is_peer() {
        rest::peer();
        return;
    }
    let rounds = number("BENCH_ROUNDS").unwrap_or(51);
    let mut report = Report::default();
    // First, while the process is small.
    if is_chosen("rest") {
        rest::measure(&mut report);
    }
    if is_chosen("decode") {
        decode::measure(rounds, &mut report);
    }
    if is_chosen("encode") {
        encode::measure(rounds, &mut report);
    }
    if is_chosen("windows") {
        let rows = number("BENCH_ROWS").unwrap_or(20_000);
        windows::measure(rows, rounds.min(5), &mut report);
    }
    report.print();
    report.write("target/bench-stomp.json");
}
