//! A pool of connections that can be abandoned together with connections that are stuck.
//!
//! A Diesel call that waits for a silent server cannot be interrupted. Its thread
//! keeps its connection, and its place in the pool, until the system ends the call. So the whole pool is
//! replaced, and connections that return to the old pool are closed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2d2::PooledConnection;

use super::DbError;
use super::manager::Manager;
use crate::backend::Backend;

/// The number of threads with which r2d2 opens connections.
const OPENERS: usize = 3;

/// How long a borrowed connection is kept without use. r2d2 looks every 30 s.
const RETURN: Duration = Duration::from_secs(10);

pub(super) struct Pool<C: Backend> {
    size: u32,
    patience: Duration,
    current: Mutex<Current<C>>,
}

/// The pool in use, and its manager.
struct Current<C: Backend> {
    pool: r2d2::Pool<Manager<C>>,
    manager: Manager<C>,
    /// The number of pools before this one.
    number: u64,
}

impl<C: Backend> Pool<C> {
    /// A pool of at most `size` connections. Nothing is connected yet.
    pub(super) fn new(manager: Manager<C>, size: u32, patience: Duration) -> Self {
        Self {
            size,
            patience,
            current: Mutex::new(build(manager, size, patience, 0)),
        }
    }

    /// Returns a connection that may be used.
    pub(super) fn get(&self) -> Result<PooledConnection<Manager<C>>, DbError> {
        let (pool, manager, number) = {
            let current = self.current();
            (
                current.pool.clone(),
                current.manager.clone(),
                current.number,
            )
        };
        loop {
            match pool.get() {
                Ok(mut slot) => {
                    if slot.is_good() {
                        return Ok(slot);
                    }
                }
                Err(error) => {
                    // All of its threads wait for a server that does not answer.
                    if manager.opening() >= OPENERS {
                        drop(self.replace(number));
                    }
                    return Err(DbError::Connection(error));
                }
            }
        }
    }

    /// The number of the pool in use.
    pub(super) fn number(&self) -> u64 {
        self.current().number
    }

    /// Replaces this pool by a new one, unless that was done before, and returns the old one. Drop it on a
    /// thread that may block.
    pub(super) fn replace(&self, number: u64) -> Option<Retired<C>> {
        let mut current = self.current();
        if current.number != number {
            return None;
        }
        let manager = current.manager.for_another();
        let fresh = build(manager, self.size, self.patience, number + 1);
        Some(Retired(std::mem::replace(&mut *current, fresh).pool))
    }

    fn current(&self) -> MutexGuard<'_, Current<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build<C: Backend>(
    manager: Manager<C>,
    size: u32,
    patience: Duration,
    number: u64,
) -> Current<C> {
    let mut builder = r2d2::Pool::builder();
    if let Some(lender) = manager.lender() {
        // The service may need them.
        builder = builder
            .idle_timeout(Some(RETURN))
            .max_lifetime(lender.max_lifetime());
    }
    let pool = builder
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(patience)
        // Pings the server only if the connection was idle: a connection that the server has closed is replaced
        // before work is tried on it.
        .test_on_check_out(true)
        // r2d2's own handler logs each attempt; `Outage` logs an outage once.
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(manager.clone());
    Current {
        pool,
        manager,
        number,
    }
}

/// A pool that is no longer used. Its idle connections are closed with it.
pub(super) struct Retired<C: Backend>(r2d2::Pool<Manager<C>>);

impl<C: Backend> Drop for Retired<C> {
    fn drop(&mut self) {
        // The pool itself lives while one of its connections is stuck.
        while self.0.try_get().is_some_and(|mut slot| {
            slot.retire();
            true
        }) {}
    }
}
