//! Rows drained to classic and to quorum queues, of one broker or of two.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::drain::{CLIENT_ALONE, ONE_PROCESS, drain};
use crate::outbox::Outbox;
use crate::report::{Goal, Report};
use crate::{Size, median, rate};

/// For each queue the client alone and one process of the relay.
pub(crate) fn measure(size: Size, report: &mut Report) {
    let runtime = Runtime::new().unwrap();
    let mut outbox = Outbox::new();
    let brokers = Broker::all();
    let names = Broker::prefixes(&brokers);
    let mut times: Vec<[Vec<Duration>; 2]> = brokers.iter().map(|_| Default::default()).collect();
    for round in 1..=size.rounds {
        eprintln!("queues, round {round} of {}", size.rounds);
        for ((broker, name), [client, relay]) in brokers.iter().zip(&names).zip(&mut times) {
            for (scenario, times) in [(CLIENT_ALONE, client), (ONE_PROCESS, relay)] {
                let took = drain(scenario, &mut outbox, broker, size.rows, &runtime);
                eprintln!(
                    "  {:5.0} rows/s  {name}{}",
                    rate(size.rows, took),
                    scenario.name
                );
                times.push(took);
            }
        }
    }
    for (name, times) in names.into_iter().zip(times) {
        let [alone, drained] = times.map(|times| rate(size.rows, median(times)));
        let rows = |rate: f64| format!("{rate:.0} rows/s");
        report.add(
            &format!("{name}the client alone"),
            rows(alone),
            1.0,
            Goal::None,
        );
        report.add(
            &format!("{name}one process"),
            rows(drained),
            drained / alone,
            Goal::None,
        );
    }
}
