//! Measures the STOMP layer: `make bench-stomp`.
//!
//! Decoding and encoding compared with tokio-stomp-2's codec, and decoding with a search for one
//! byte in the same bytes; the memory of an idle connection; SEND with receipts on RabbitMQ. The
//! compared variants are measured in turn in each round. Each figure is the median of the rounds,
//! and for ratios the median of the rounds' ratios. The results are printed as a table and written
//! to `target/bench-stomp.json`.
//!
//! Arguments select parts: `decode`, `encode`, `rest`, `windows`, and `queues`, which runs only if it is named
//! (`make bench-queues`). `BENCH_ROUNDS` and `BENCH_ROWS` make it shorter and less precise.
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
#[path = "../relay/queue.rs"]
mod queue;
#[path = "../relay/report.rs"]
mod report;

mod bodies;
mod connection_memory;
mod decode;
mod encode;
mod windows;

use outbox_test_support as support;

use broker::Broker;
use figures::{is_chosen, is_named, median, number, rate};
use report::Report;

fn main() {
    if connection_memory::is_peer() {
        connection_memory::peer();
        return;
    }
    let rounds = number("BENCH_ROUNDS").unwrap_or(51);
    let mut report = Report::default();
    // First, while the process is small.
    if is_chosen("rest") {
        connection_memory::measure(&mut report);
    }
    if is_chosen("decode") {
        decode::measure(rounds, &mut report);
    }
    if is_chosen("encode") {
        encode::measure(rounds, &mut report);
    }
    let rows = number("BENCH_ROWS").unwrap_or(20_000);
    if is_chosen("windows") {
        windows::measure(&[Broker::usual()], rows, rounds.min(5), &mut report);
    }
    if is_named("queues") {
        windows::measure(&Broker::all(), rows, rounds.min(5), &mut report);
    }
    report.print();
    report.write("target/bench-stomp.json");
}
