//! The functions.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use diesel::prelude::*;
use diesel_outbox::calls::State;
use diesel_outbox::{BoxError, Shutdown, outboxed};

use crate::outbox::effects;

/// Stops the executor after a number of calls.
pub(crate) struct Countdown {
    left: AtomicI64,
    shutdown: Shutdown,
}

impl Countdown {
    pub(crate) fn new(calls: i64, shutdown: &Shutdown) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(calls),
            shutdown: shutdown.clone(),
        })
    }

    fn count(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shutdown.stop();
        }
    }
}

/// Does nothing.
#[outboxed(name = "bench.nothing")]
pub(crate) fn nothing(countdown: State<Countdown>, order: i64, email: &str) {
    let _ = (order, email);
    countdown.count();
}

/// Inserts a row, in the transaction that settles the call.
#[outboxed(name = "bench.effect")]
pub(crate) fn effect(conn: &mut PgConnection, order: i64, email: &str) -> Result<(), BoxError> {
    insert_effect(conn, order, email)?;
    Ok(())
}

pub(crate) fn insert_effect(conn: &mut PgConnection, order: i64, email: &str) -> QueryResult<()> {
    diesel::insert_into(effects::table)
        .values((effects::order_id.eq(order), effects::email.eq(email)))
        .execute(conn)
        .map(drop)
}

/// Where `tick` reports its starts.
pub(crate) struct Clock {
    pub(crate) starts: Mutex<Sender<Instant>>,
}

/// Reports when it starts.
#[outboxed(name = "bench.tick")]
pub(crate) fn tick(clock: State<Clock>) -> Result<(), BoxError> {
    let started = Instant::now();
    clock.starts.lock().unwrap().send(started)?;
    Ok(())
}
