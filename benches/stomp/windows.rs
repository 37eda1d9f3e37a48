//! SEND with receipts on RabbitMQ, with different numbers of frames in flight.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::queue::{Queue, send_bare};
use crate::report::{Goal, Report};
use crate::{median, rate};

const WINDOWS: [usize; 4] = [1, 10, 128, 1000];
const BODY: usize = 200;

/// The brokers are measured in turn in each round.
pub(crate) fn measure(brokers: &[Broker], rows: i64, rounds: usize, report: &mut Report) {
    let runtime = Runtime::new().unwrap();
    let names = Broker::prefixes(brokers);
    let mut times: Vec<[Vec<Duration>; 4]> = brokers.iter().map(|_| Default::default()).collect();
    for round in 1..=rounds {
        eprintln!("windows, round {round} of {rounds}");
        for ((broker, name), times) in brokers.iter().zip(&names).zip(&mut times) {
            for (window, times) in WINDOWS.into_iter().zip(times) {
                let rows = count(rows, window);
                let took = send(broker, rows, window, &runtime);
                let last = rate(rows, took);
                eprintln!("  {last:5.0} messages/s  {name}{window} in flight");
                times.push(took);
            }
        }
    }
    for (name, times) in names.iter().zip(times) {
        let mut one = None;
        for (window, times) in WINDOWS.into_iter().zip(times) {
            let rate = rate(count(rows, window), median(times));
            let one = *one.get_or_insert(rate);
            report.add(
                &format!("{name}SEND with receipts, {window} in flight"),
                format!("{rate:.0} messages/s"),
                rate / one,
                Goal::None,
            );
        }
    }
}

/// Fewer rows with one in flight, which is slow.
fn count(rows: i64, window: usize) -> i64 {
    if window == 1 { rows / 4 } else { rows }
}

fn send(broker: &Broker, rows: i64, window: usize, runtime: &Runtime) -> Duration {
    let queue = Queue::new(broker, runtime);
    let (url, destination) = (broker.url.clone(), queue.destination());
    let body = "x".repeat(BODY);
    let began = Instant::now();
    // In a task; otherwise each receipt wakes one thread from another.
    let sending = runtime.spawn(send_bare(url, destination, body, rows, window));
    runtime.block_on(sending).unwrap();
    let took = began.elapsed();
    queue.delete(runtime);
    took
}
