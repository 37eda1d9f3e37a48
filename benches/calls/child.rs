//! Executes calls in a process of its own, by an executor or by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::Shutdown;
use diesel_outbox::calls::{Calls, Executor};
use diesel_outbox::config::Config;

use crate::functions::{Countdown, effect, nothing};
use crate::{by_hand, process};

/// What the process does.
const CHILD: &str = "BENCH_EXECUTES";
/// The number of calls of `nothing` after which an executor ends.
const LIMIT: &str = "BENCH_CALLS";

/// A way to execute calls.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Executor,
    /// A loop by hand that claims 100 calls at a time.
    Batches,
    /// A loop by hand with a transaction for each call.
    Transactions,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Batches => "batches",
            Self::Transactions => "transactions",
        }
    }
}

/// What the process reports.
pub(crate) struct Ran {
    /// From the start of its main function, without the start of the process.
    pub(crate) took: Duration,
    /// In bytes.
    pub(crate) peak_memory: u64,
}

/// Executes the calls that are due. An executor has one worker, and stops after so many calls of `nothing`.
pub(crate) fn execute(by: By, database: &str, calls: i64) -> Ran {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, by.name())
        .env(LIMIT, calls.to_string())
        .env("DATABASE_URL", database)
        .env("OUTBOX_CALL_WORKERS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    eprint!("{said}");
    let report = String::from_utf8(output.stdout).unwrap();
    let (took, peak) = report.trim().split_once(' ').unwrap();
    Ran {
        took: Duration::from_micros(took.parse().unwrap()),
        peak_memory: peak.parse().unwrap(),
    }
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The child process's work.
pub(crate) fn run() {
    let began = Instant::now();
    let url = std::env::var("DATABASE_URL").unwrap();
    let by = std::env::var(CHILD).unwrap();
    if by == By::Batches.name() {
        by_hand::in_batches(&url);
    } else if by == By::Transactions.name() {
        by_hand::in_transactions(&url);
    } else {
        run_executor();
    }
    let took = began.elapsed().as_micros();
    println!("{took} {}", process::peak_memory("self").unwrap());
    eprintln!("  {} ms of processor time", process::ticks("self") * 10);
}

fn run_executor() {
    let shutdown = Shutdown::new();
    let limit: i64 = std::env::var(LIMIT).unwrap().parse().unwrap();
    let config = Config::builder().env().build().unwrap();
    let calls = Calls::<PgConnection>::new()
        .add::<nothing>()
        .add::<effect>()
        .state(Countdown::new(limit, &shutdown));
    let executor = Executor::new(&config, calls).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(executor.run_once(&shutdown)).unwrap();
}
