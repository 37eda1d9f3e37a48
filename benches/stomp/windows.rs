//! SEND with receipts on RabbitMQ, with different numbers of frames in flight.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::queue::{Queue, send_bare};
use crate::report::{Goal, Report};
use crate::{median, rate};

const WINDOWS: [usize; 4] = [1, 10, 128, 1000];
const BODY: usize = 200;

pub(crate) fn measure(rows: i64, rounds: usize, report: &mut Report) {
    let broker = Broker::usual();
    let runtime = Runtime::new().unwrap();
    let body = "x".repeat(BODY);
    // Fewer rows: one at a time is slow.
    let count = |window| if window == 1 { rows / 4 } else { rows };
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 1..=rounds {
        eprintln!("windows, round {round} of {rounds}");
        for (window, times) in WINDOWS.into_iter().zip(&mut times) {
            let queue = Queue::new(&broker, &runtime);
            let began = Instant::now();
            let (url, destination, body) = (broker.url.clone(), queue.destination(), body.clone());
            // In a task; otherwise each receipt wakes one thread from another.
            let sending = runtime.spawn(send_bare(url, destination, body, count(window), window));
            runtime.block_on(sending).unwrap();
            times.push(began.elapsed());
            queue.delete(&runtime);
            let last = rate(count(window), times[times.len() - 1]);
            eprintln!("  {last:5.0} messages/s  {window} in flight");
        }
    }
    let mut one = None;
    for (window, times) in WINDOWS.into_iter().zip(times) {
        let rate = rate(count(window), median(times));
        let one = *one.get_or_insert(rate);
        report.add(
            &format!("SEND with receipts, {window} in flight"),
            format!("{rate:.0} messages/s"),
            rate / one,
            Goal::None,
        );
    }
}
