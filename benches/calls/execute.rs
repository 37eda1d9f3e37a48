//! Calls executed with one worker, compared with hand-written loops.

use std::time::Duration;

use diesel::connection::SimpleConnection;

use crate::child::By;
use crate::outbox::Outbox;
use crate::report::{Goal, Report};
use crate::{Size, child, median, rate};

const BEHIND_ONE_KEY: i64 = 100_000;

/// One way to execute calls.
struct Scenario {
    name: &'static str,
    /// The function.
    call: &'static str,
    /// Whether 100,000 calls of a key that fails are there.
    is_blocked: bool,
    by: By,
    /// The scenario to compare with, and the minimum share of its rate.
    goal: Option<(usize, f64)>,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "by hand: 100 are claimed, and settled in one statement",
        call: "bench.nothing",
        is_blocked: false,
        by: By::Batches,
        goal: None,
    },
    Scenario {
        name: "blocking functions that do nothing, one worker",
        call: "bench.nothing",
        is_blocked: false,
        by: By::Executor,
        goal: Some((0, 0.7)),
    },
    Scenario {
        name: "the same behind 100,000 calls of a failing key",
        call: "bench.nothing",
        is_blocked: true,
        by: By::Executor,
        goal: Some((1, 0.9)),
    },
    Scenario {
        name: "by hand: a transaction for each, which inserts a row",
        call: "bench.effect",
        is_blocked: false,
        by: By::Transactions,
        goal: None,
    },
    Scenario {
        name: "functions in a transaction that insert a row, one worker",
        call: "bench.effect",
        is_blocked: false,
        by: By::Executor,
        goal: Some((3, 0.8)),
    },
];

pub(crate) fn measure(size: Size, report: &mut Report) {
    let mut free = Outbox::new();
    let mut blocked = Outbox::new();
    blocked.rows("bench.nothing", 1, "'k'", "-1, '9000-01-01'");
    blocked.rows("bench.nothing", BEHIND_ONE_KEY, "'k'", "1, 'epoch'");
    let mut times: Vec<Vec<Duration>> = SCENARIOS.iter().map(|_| Vec::new()).collect();
    for round in 1..=size.rounds {
        eprintln!("execute, round {round} of {}", size.rounds);
        for (scenario, times) in SCENARIOS.iter().zip(&mut times) {
            let outbox = if scenario.is_blocked {
                &mut blocked
            } else {
                &mut free
            };
            let took = execute(scenario, outbox, size.calls);
            eprintln!(
                "  {:5.0} calls/s  {}",
                rate(size.calls, took),
                scenario.name
            );
            times.push(took);
        }
    }
    let rates: Vec<f64> = times
        .into_iter()
        .map(|times| rate(size.calls, median(times)))
        .collect();
    for (scenario, own) in SCENARIOS.iter().zip(&rates) {
        let (other, goal) = match scenario.goal {
            Some((other, least)) => (rates[other], Goal::AtLeast(least)),
            None => (*own, Goal::None),
        };
        let name = format!("executed: {}", scenario.name);
        report.add(&name, format!("{own:.0} calls/s"), own / other, goal);
    }
}

fn execute(scenario: &Scenario, outbox: &mut Outbox, calls: i64) -> Duration {
    let before = outbox.waiting();
    outbox.fill(scenario.call, calls);
    outbox.conn.batch_execute("checkpoint").unwrap();
    let took = child::execute(scenario.by, &outbox.database.url, i64::MAX).took;
    assert_eq!(outbox.waiting(), before, "everything was executed");
    if scenario.call == "bench.effect" {
        assert_eq!(outbox.effects(), calls);
    }
    if scenario.is_blocked {
        let settled = "delete from outbox_calls where status = 2";
        outbox.conn.batch_execute(settled).unwrap();
    } else {
        outbox.empty();
    }
    took
}
