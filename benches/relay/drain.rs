//! Rows drained, compared with what the broker accepts.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::outbox::{BODY, Outbox};
use crate::program::Program;
use crate::queue::{Queue, send_bare};
use crate::report::{Goal, Report};
use crate::{Size, median, rate};

const WINDOW: usize = 128;
const NO_KEY: &str = "null::varchar";
const SETTLED: i64 = 5_000_000;
const BEHIND_ONE_KEY: i64 = 100_000;
const BLOCKED_KEYS: i64 = 2_000;

/// One way to drain the outbox.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The index of the outbox.
    outbox: usize,
    key: &'static str,
    processes: usize,
    /// Whether the processes serve their metrics, and each is scraped every second.
    has_metrics: bool,
    /// The scenario to compare with, and the minimum share of its rate.
    goal: (usize, f64),
}

const EMPTY: usize = 0;
const FULL: usize = 1;
const BLOCKED: usize = 2;
const MANY_BLOCKED: usize = 3;

pub(crate) const CLIENT_ALONE: &Scenario = &SCENARIOS[0];
pub(crate) const ONE_PROCESS: &Scenario = &SCENARIOS[1];

/// The first uses only the STOMP client.
const SCENARIOS: [Scenario; 10] = [
    scenario("the client alone, no database", EMPTY, NO_KEY, 0, (0, 0.0)),
    scenario("one process", EMPTY, NO_KEY, 1, (0, 0.8)),
    Scenario {
        has_metrics: true,
        ..scenario("one process, with metrics", EMPTY, NO_KEY, 1, (1, 0.98))
    },
    scenario(
        "1,000 rows for each of 50 keys",
        EMPTY,
        "(n % 50)::text",
        1,
        (1, 0.7),
    ),
    scenario("one key for each row", EMPTY, "n::text", 1, (1, 0.7)),
    scenario("beside 5,000,000 sent rows", FULL, NO_KEY, 1, (1, 0.9)),
    scenario(
        "behind 100,000 rows of a blocked key",
        BLOCKED,
        NO_KEY,
        1,
        (1, 0.9),
    ),
    scenario(
        "behind 2,000 blocked keys",
        MANY_BLOCKED,
        NO_KEY,
        1,
        (1, 0.9),
    ),
    scenario("two processes", EMPTY, NO_KEY, 2, (1, 0.9)),
    scenario("four processes", EMPTY, NO_KEY, 4, (1, 0.9)),
];

const fn scenario(
    name: &'static str,
    outbox: usize,
    key: &'static str,
    processes: usize,
    goal: (usize, f64),
) -> Scenario {
    Scenario {
        name,
        outbox,
        key,
        processes,
        has_metrics: false,
        goal,
    }
}

pub(crate) fn measure(size: Size, report: &mut Report) {
    let runtime = Runtime::new().unwrap();
    let broker = Broker::usual();
    let mut outboxes = outboxes();
    let mut times: Vec<Vec<Duration>> = SCENARIOS.iter().map(|_| Vec::new()).collect();
    for round in 1..=size.rounds {
        eprintln!("drain, round {round} of {}", size.rounds);
        for (scenario, times) in SCENARIOS.iter().zip(&mut times) {
            let outbox = &mut outboxes[scenario.outbox];
            let took = drain(scenario, outbox, &broker, size.rows, &runtime);
            let name = scenario.name;
            eprintln!("  {:5.0} rows/s  {name}", rate(size.rows, took));
            times.push(took);
        }
    }
    let rates: Vec<f64> = times
        .into_iter()
        .map(|times| rate(size.rows, median(times)))
        .collect();
    for (scenario, own) in SCENARIOS.iter().zip(&rates) {
        let (other, least) = scenario.goal;
        let goal = if least > 0.0 {
            Goal::AtLeast(least)
        } else {
            Goal::None
        };
        let ratio = own / rates[other];
        let name = format!("drained: {}", scenario.name);
        report.add(&name, format!("{own:.0} rows/s"), ratio, goal);
    }
}

fn outboxes() -> [Outbox; 4] {
    let mut outboxes = [(); 4].map(|()| Outbox::new());
    outboxes[FULL].rows("/queue/settled", SETTLED, NO_KEY, "2, 'epoch'");
    let [_, _, blocked, many_blocked] = &mut outboxes;
    blocked.rows("/queue/blocked", 1, "'k'", "-1, '9000-01-01'");
    blocked.rows("/queue/blocked", BEHIND_ONE_KEY, "'k'", "1, 'epoch'");
    many_blocked.rows(
        "/queue/blocked",
        BLOCKED_KEYS,
        "n::text",
        "-1, '9000-01-01'",
    );
    many_blocked.rows("/queue/blocked", BLOCKED_KEYS, "n::text", "1, 'epoch'");
    for outbox in &mut outboxes {
        outbox
            .conn
            .batch_execute("vacuum analyze published")
            .unwrap();
    }
    outboxes
}

/// Sends rows to a queue of the broker, and returns the time.
pub(crate) fn drain(
    scenario: &Scenario,
    outbox: &mut Outbox,
    broker: &Broker,
    rows: i64,
    runtime: &Runtime,
) -> Duration {
    let queue = Queue::new(broker, runtime);
    let destination = queue.destination();
    if scenario.processes == 0 {
        let began = Instant::now();
        // In a task, like the relay's loop.
        let sending = runtime.spawn(send_bare(
            broker.url.clone(),
            destination,
            BODY,
            rows,
            WINDOW,
        ));
        runtime.block_on(sending).unwrap();
        let took = began.elapsed();
        queue.delete(runtime);
        return took;
    }
    let before = outbox.waiting();
    outbox.fill(&destination, rows, scenario.key);
    let began = Instant::now();
    let start = |_| match scenario.has_metrics {
        true => Program::start_with_metrics(&outbox.database.url, broker, &["--once"]),
        false => Program::start(&outbox.database.url, broker, &["--once"]),
    };
    let programs: Vec<Program> = (0..scenario.processes).map(start).collect();
    for program in programs {
        program.finish();
    }
    let took = began.elapsed();
    assert_eq!(outbox.waiting(), before, "everything was sent");
    // In the other outboxes the rows may stay, as more sent rows.
    if scenario.outbox == EMPTY {
        outbox.empty();
    }
    queue.delete(runtime);
    took
}
