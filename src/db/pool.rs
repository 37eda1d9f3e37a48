//! A pool of connections that can be given up with what is stuck in it.
//!
//! A call of Diesel's that waits for a server which has gone silent cannot be interrupted. Its thread
//! keeps its connection, and its place in the pool, until the system ends it; so the whole pool is
//! replaced, and what comes back to the old one is closed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2d2::PooledConnection;

use super::DbError;
use super::manager::Manager;
use crate::backend::Backend;

/// Threads by which r2d2 opens connections.
const OPENERS: usize = 3;

pub(super) struct Pool<C: Backend> {
    size: u32,
    patience: Duration,
    current: Mutex<Current<C>>,
}

/// The pool in use, and its manager.
struct Current<C: Backend> {
    pool: r2d2::Pool<Manager<C>>,
    manager: Manager<C>,
    /// How many were there before it.
    number: u64,
}

impl<C: Backend> Pool<C> {
    /// Of at most `size` connections. Nothing is connected yet.
    pub(super) fn new(manager: Manager<C>, size: u32, patience: Duration) -> Self {
        Self {
            size,
            patience,
            current: Mutex::new(build(manager, size, patience, 0)),
        }
    }

    /// A connection that may be used.
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
                    if slot.is_good(manager.generation()) {
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

    /// Which pool is in use.
    pub(super) fn number(&self) -> u64 {
        self.current().number
    }

    /// Begins a new pool in the place of this one, if that was not done before; the old one is to be
    /// dropped where that may block.
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
    let pool = r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(patience)
        // Asks the server only if the connection was idle: one that the server has closed is replaced
        // before work is tried on it.
        .test_on_check_out(true)
        // Its own handler logs each attempt; an outage is logged once, by `Outage`.
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(manager.clone());
    Current {
        pool,
        manager,
        number,
    }
}

/// A pool that is not used any more. What is idle in it is closed with it.
pub(super) struct Retired<C: Backend>(r2d2::Pool<Manager<C>>);

impl<C: Backend> Drop for Retired<C> {
    fn drop(&mut self) {
        // The pool itself lives as long as a connection of it is stuck.
        while self.0.try_get().is_some_and(|mut slot| {
            slot.retire();
            true
        }) {}
    }
}
