//! The time from a commit to the start of the function, while the executor is idle.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::backend::Backend;
use diesel_outbox::calls::{Calls, Executor};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::OnCommit;
use diesel_outbox::{Error, Shutdown};
use tokio::runtime::Runtime;

use crate::functions::{Clock, tick};
use crate::idle_times::{add, rest};
use crate::report::Report;

/// The variants are measured in turn, so that they share what else the machine does.
const ROUNDS: usize = 6;
/// In each round.
const CALLS: usize = 50;

/// What wakes the executor.
#[derive(Clone, Copy, PartialEq)]
enum WakeUp {
    /// Its watch of the database.
    Watch,
    /// `OnCommit`; no watch.
    OnCommit,
}

pub(crate) fn measure(report: &mut Report) {
    let postgres = crate::support::postgres::<PgConnection>().unwrap();
    of::<PgConnection>("PostgreSQL", &postgres.url, Some(5.0), None, report);
    let mysql = crate::support::mysql::<MysqlConnection>().unwrap();
    of::<MysqlConnection>("MariaDB", &mysql.url, None, Some(3.0), report);
    let sqlite = crate::support::sqlite::<SqliteConnection>();
    of::<SqliteConnection>("SQLite", &sqlite.url, None, Some(3.0), report);
}

/// With goals for p50.
fn of<C: Backend + Migrate>(
    name: &str,
    url: &str,
    of_watch: Option<f64>,
    of_on_commit: Option<f64>,
    report: &mut Report,
) {
    connect::<C>(url).migrate().unwrap();
    let variants = [
        (WakeUp::Watch, "the watch", of_watch),
        (WakeUp::OnCommit, "OnCommit", of_on_commit),
    ];
    let mut times = [(); 2].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        for ((wake_up, _, _), times) in variants.iter().zip(&mut times) {
            times.extend(with::<C>(url, *wake_up));
        }
    }
    for ((_, words, goal), times) in variants.into_iter().zip(times) {
        let what = format!("commit to start: {name}, {words}");
        add(&what, times, (goal, None), report);
    }
}

fn connect<C: Backend>(url: &str) -> C {
    let mut conn = C::establish(url).unwrap();
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma busy_timeout = 5000").unwrap();
    }
    conn
}

/// The times of a round, with an executor of its own.
fn with<C: Backend>(url: &str, wake_up: WakeUp) -> Vec<Duration> {
    let mut conn = connect::<C>(url);
    let config = Config::builder()
        .set("database_url", url)
        .set("wake_up", wake_up == WakeUp::Watch)
        .build()
        .unwrap();
    let (sender, starts) = channel();
    let calls = Calls::<C>::new().add::<tick>().state(Arc::new(Clock {
        starts: Mutex::new(sender),
    }));
    let executor = Executor::new(&config, calls).unwrap();
    if wake_up == WakeUp::OnCommit {
        OnCommit::install(&mut conn, executor.waker()).unwrap();
    }
    let runtime = Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let executor = runtime.spawn(async move { executor.run(&signal).await });
    let times = (0..CALLS).map(|n| {
        std::thread::sleep(rest(n));
        conn.transaction::<_, Error, _>(|conn| tick::later(conn))
            .unwrap();
        let committed = Instant::now();
        // It may have started before the writer has the answer to its COMMIT.
        starts.recv().unwrap().saturating_duration_since(committed)
    });
    let times = times.collect();
    shutdown.stop();
    runtime.block_on(executor).unwrap().unwrap();
    times
}
