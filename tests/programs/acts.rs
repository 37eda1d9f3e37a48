//! Calls whose arguments say what the function does: for the program that executes them, and for the tests that
//! write them.
#![allow(dead_code, clippy::print_stderr)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel_outbox::backend::Backend;
use diesel_outbox::calls::{Call, CallResult, Execute, Function};
use serde::{Deserialize, Serialize};

/// The maximum time for which an act waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a function does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    Return,
    Fail(String),
    /// Returns when this file exists.
    WaitFor(PathBuf),
    /// Returns after this number of calls have run at the same time.
    Meet(usize),
    /// Ends the process with SIGABRT.
    Abort,
}

/// A function on a thread.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Play {
    pub(crate) n: i64,
    pub(crate) act: Act,
}

/// A function in a transaction.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlayWithin {
    pub(crate) n: i64,
    pub(crate) act: Act,
}

/// An async function with a time limit, which returns when its file exists.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Await {
    pub(crate) file: PathBuf,
}

/// A function that the program does not know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Unknown {}

impl Call for Play {
    const NAME: &'static str = "test.play";
}

impl Call for PlayWithin {
    const NAME: &'static str = "test.play_within";
}

impl Call for Await {
    const NAME: &'static str = "test.await";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1));
}

impl Call for Unknown {
    const NAME: &'static str = "test.unknown";
}

impl<C> Execute<C> for Play {
    const FUNCTION: Function<Self, C> = Function::Blocking(|call, _| perform(call.n, call.act));
}

impl<C: Backend> Execute<C> for PlayWithin {
    const FUNCTION: Function<Self, C> =
        Function::Transactional(|call, _, _| perform(call.n, call.act));
}

impl<C> Execute<C> for Await {
    const FUNCTION: Function<Self, C> = Function::Async(|call, _| {
        Box::pin(async move {
            eprintln!("it waits");
            while !call.file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
    });
}

/// Calls that run, and the largest number of them so far.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn perform(n: i64, act: Act) -> CallResult {
    let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
    MOST.fetch_max(running, Ordering::SeqCst);
    eprintln!("call {n} began, {running} run");
    let result = match act {
        Act::Return => Ok(()),
        Act::Fail(reason) => Err(reason.into()),
        Act::WaitFor(file) => wait_until(|| file.exists()),
        Act::Meet(others) => {
            let met = wait_until(|| MOST.load(Ordering::SeqCst) >= others);
            // Time for one more, if there is a worker for it.
            std::thread::sleep(Duration::from_millis(50));
            met
        }
        Act::Abort => std::process::abort(),
    };
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    eprintln!("call {n} ended");
    result
}

fn wait_until(done: impl Fn() -> bool) -> CallResult {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > PATIENCE {
            return Err("it waited in vain".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
