//! Runs the subscriber in a separate process.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::config::Config;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Outcome, Payload, Registry, Shutdown};

use crate::inbox::effects;
use crate::process;
use crate::queue::Queue;

/// The destination and the number of messages to handle.
const CHILD: &str = "BENCH_SUBSCRIBER";

/// Consumes this many messages; returns the time and the process's peak memory.
pub(crate) fn consume(
    database: &str,
    queue: &Queue,
    messages: usize,
    workers: usize,
) -> (Duration, u64) {
    let began = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, format!("{} {messages}", queue.topic()))
        .env("DATABASE_URL", database)
        .env("STOMP_URL", &queue.broker.url)
        .env("OUTBOX_WORKERS", workers.to_string())
        .env("OUTBOX_QUEUE_HEADERS", queue.headers())
        .output()
        .unwrap();
    let took = began.elapsed();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    eprint!("{said}");
    let peak = String::from_utf8(output.stdout).unwrap();
    (took, peak.trim().parse().unwrap())
}

pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The child process's work.
pub(crate) fn run() {
    let arguments = std::env::var(CHILD).unwrap();
    let (destination, messages) = arguments.split_once(' ').unwrap();
    let left = Arc::new(AtomicUsize::new(messages.parse().unwrap()));
    let shutdown = Shutdown::new();
    let (stop, count) = (shutdown.clone(), Arc::clone(&left));
    let callback = move |conn: &mut PgConnection, payload: &Payload| -> Result<Outcome, BoxError> {
        diesel::insert_into(effects::table)
            .values(effects::note.eq(payload.msg_id()))
            .execute(conn)?;
        if count.fetch_sub(1, Ordering::SeqCst) == 1 {
            stop.stop();
        }
        Ok(Outcome::Done)
    };
    let config = Config::builder().env().build().unwrap();
    let registry = Registry::<PgConnection>::new().on("effect", callback);
    let subscriber = Subscriber::new(&config, &registry, "effect", destination, None).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(subscriber.run(&shutdown)).unwrap();
    println!("{}", process::peak_memory("self").unwrap());
    eprintln!("  {} ms of processor time", process::ticks("self") * 10);
}
