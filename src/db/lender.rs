//! Connections that are borrowed from a pool of the service.
//!
//! A borrowed connection gets the session settings of this crate, and its own back before it is returned. A
//! connection that is not trusted any more is not returned alive: Diesel's manager closes a connection whose
//! transaction manager is in its error state.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use diesel::connection::TransactionManager;
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};

use super::threads::Threads;
use crate::backend::Backend;

/// A pool of a service.
pub(crate) type ServicePool<C> = Pool<ConnectionManager<C>>;

/// A pool of the service has room for fewer connections than are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pool has at most {max_size} connections, and up to {needed} of them are borrowed: set its max_size to \
     {needed} and what the service uses itself"
)]
#[non_exhaustive]
pub struct PoolTooSmall {
    /// The number of connections that are borrowed at a time, at most.
    pub needed: u32,
    /// The pool's `max_size`.
    pub max_size: u32,
}

/// Why no connection could be borrowed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BorrowError {
    /// All that may be borrowed at a time are in use here.
    #[error(
        "all {most} connections that may be borrowed from the service's pool are in use, and none was \
         returned within {after:?}"
    )]
    NoPlace {
        /// How many may be borrowed at a time.
        most: u32,
        /// How long it has waited.
        after: Duration,
    },
    /// The service uses all connections of its pool, or the pool cannot open more.
    #[error("the service's pool ({in_use} of {max_size} connections in use): {source}")]
    NoConnection {
        in_use: u32,
        max_size: u32,
        source: diesel::r2d2::PoolError,
    },
    /// A connection of the pool does not answer, or refuses its settings.
    #[error("a connection of the service's pool: {0}")]
    Refused(#[source] diesel::result::Error),
}

/// Lends connections of a service's pool. Cheap to clone.
pub(super) struct Lender<C: Backend> {
    pool: Pool<ConnectionManager<C>>,
    /// How long to wait for a connection.
    patience: Duration,
    /// The places for borrowed connections: each takes one with it, and gives it back.
    places: Receiver<()>,
    give_back: Sender<()>,
    most: u32,
    threads: Threads,
}

impl<C: Backend> Clone for Lender<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            patience: self.patience,
            places: self.places.clone(),
            give_back: self.give_back.clone(),
            most: self.most,
            threads: self.threads.clone(),
        }
    }
}

impl<C: Backend> Lender<C> {
    /// Lends up to `needed` connections at a time. Fails if the pool has room for fewer.
    pub(super) fn new(
        pool: Pool<ConnectionManager<C>>,
        needed: u32,
        patience: Duration,
        threads: Threads,
    ) -> Result<Self, PoolTooSmall> {
        let max_size = pool.max_size();
        if max_size < needed {
            return Err(PoolTooSmall { needed, max_size });
        }
        let (give_back, places) = crossbeam_channel::unbounded();
        for _ in 0..needed {
            // The receiver is beside it.
            let _ = give_back.send(());
        }
        Ok(Self {
            pool,
            patience,
            places,
            give_back,
            most: needed,
            threads,
        })
    }

    /// How long the pool uses a connection, if there is a limit.
    pub(super) fn max_lifetime(&self) -> Option<Duration> {
        self.pool.max_lifetime()
    }

    /// Borrows a connection that has answered.
    pub(super) fn borrow(&self) -> Result<Borrowed<C>, BorrowError> {
        let until = Instant::now() + self.patience;
        let place = self.place()?;
        let mut others = self.pool.max_size();
        loop {
            let was_idle = self.pool.state().idle_connections > 0;
            let wait = until.saturating_duration_since(Instant::now());
            let mut connection = self.pool.get_timeout(wait).map_err(|source| {
                let state = self.pool.state();
                BorrowError::NoConnection {
                    in_use: state.connections.saturating_sub(state.idle_connections),
                    max_size: self.pool.max_size(),
                    source,
                }
            })?;
            match connection.session_settings() {
                // The pool may have others that lead to the new primary.
                Ok(_) if was_idle && others > 0 && connection.is_read_only() == Ok(true) => {
                    others -= 1;
                    close(&mut *connection);
                    tracing::debug!(
                        "a connection of the service's pool takes no writes; taking another one"
                    );
                }
                Ok(settings) => {
                    return Ok(Borrowed {
                        lent: Some(Lent {
                            connection,
                            is_restored: false,
                            _place: place,
                        }),
                        settings,
                        is_retired: false,
                        threads: self.threads.clone(),
                    });
                }
                // The pool did not check it.
                Err(error) => {
                    let is_dead = connection.ping().is_err();
                    close(&mut *connection);
                    if !is_dead || Instant::now() >= until {
                        return Err(BorrowError::Refused(error));
                    }
                    tracing::debug!(error = %error, "a connection of the service's pool is dead; taking another one");
                }
            }
        }
    }

    fn place(&self) -> Result<Place, BorrowError> {
        match self.places.recv_timeout(self.patience) {
            Ok(()) => Ok(Place(self.give_back.clone())),
            Err(_) => Err(BorrowError::NoPlace {
                most: self.most,
                after: self.patience,
            }),
        }
    }
}

/// The right to one borrowed connection.
struct Place(Sender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // Fails only if nobody can borrow any more.
        let _ = self.0.send(());
    }
}

/// A connection of the service's pool, which gets its own settings back when it is returned.
pub(crate) struct Borrowed<C: Backend> {
    /// Taken only when it is dropped.
    lent: Option<Lent<C>>,
    /// A statement that gives the session its own settings back.
    settings: String,
    is_retired: bool,
    threads: Threads,
}

impl<C: Backend> Borrowed<C> {
    /// The pool closes the connection when it is returned.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
    }
}

impl<C: Backend> Deref for Borrowed<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match &self.lent {
            Some(lent) => &lent.connection,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<C: Backend> DerefMut for Borrowed<C> {
    fn deref_mut(&mut self) -> &mut C {
        match &mut self.lent {
            Some(lent) => &mut lent.connection,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<C: Backend> Drop for Borrowed<C> {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else {
            return;
        };
        if self.is_retired || std::thread::panicking() {
            return;
        }
        let settings = std::mem::take(&mut self.settings);
        // The server may not answer.
        drop(self.threads.run(move || lent.restore(&settings)));
    }
}

/// A connection that the pool closes unless its settings are restored.
struct Lent<C: Backend> {
    connection: PooledConnection<ConnectionManager<C>>,
    is_restored: bool,
    _place: Place,
}

impl<C: Backend> Lent<C> {
    fn restore(mut self, settings: &str) {
        // An open transaction may be in the way of the settings, and would undo them.
        if self.connection.is_broken() {
            return;
        }
        match self.connection.batch_execute(settings) {
            Ok(()) => self.is_restored = true,
            Err(error) => tracing::debug!(
                error = %error,
                "a connection of the service's pool could not get its settings back; the pool closes it"
            ),
        }
    }
}

impl<C: Backend> Drop for Lent<C> {
    fn drop(&mut self) {
        if !self.is_restored {
            close(&mut *self.connection);
        }
    }
}

/// Makes the pool close a connection when it is returned: `ConnectionManager::has_broken` asks for this state.
fn close<C: Backend>(connection: &mut C) {
    C::TransactionManager::transaction_manager_status_mut(connection).set_in_error();
}
