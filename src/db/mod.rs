//! The database of the programs: a pool, and blocking work kept off the runtime's threads.

mod address;
mod fault;
mod health;
mod manager;

use std::fmt;

use r2d2::{Pool, PooledConnection};

use crate::backend::{Backend, TooOld, check_version};
use crate::config::Config;
#[cfg(feature = "postgres")]
use crate::config::Secret;
use crate::outage::Outage;
use crate::shutdown::Shutdown;

pub use address::{Address, AddressError};
#[doc(hidden)]
pub use fault::LastError;
pub(crate) use fault::{Fault, fault, is_infrastructure, is_unknown, is_unsent};
pub(crate) use health::{Health, Witness};
pub use manager::ConnectError;
use manager::Manager;

/// Why work on the database was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// No connection could be had in time: the server is away, or refuses us.
    #[error("no connection to the database: {0}")]
    Connection(#[source] r2d2::Error),
    /// A connection beside the pool could not be opened.
    #[error("no connection to the database: {0}")]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("the database refused: {0}")]
    Statement(#[from] diesel::result::Error),
    /// A table is missing, or has another shape.
    #[error(
        "the outbox's tables are missing or out of date: run `outbox migrate` on this database ({0})"
    )]
    Tables(#[source] diesel::result::Error),
    /// The server is older than what the outbox needs.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The work panicked or was abandoned because the runtime stops.
    #[error("the work on the database was not finished: {0}")]
    Unfinished(#[from] tokio::task::JoinError),
}

impl DbError {
    /// Whether the database is away: it may be back later. A refused login or a database that does
    /// not exist is a mistake in the settings.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Connection(error) => !is_refusal(error),
            Self::Connect(error) => !is_refusal(error),
            Self::Statement(error) => is_infrastructure(error),
            Self::Tables(_) | Self::TooOld(_) | Self::Unfinished(_) => false,
        }
    }
}

/// How the databases say that waiting will not help; libpq has no code for a failed connection.
const REFUSALS: [&str; 9] = [
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "invalid connection option",
    "access denied",
    "unknown database",
    "unable to open database file",
    "file is not a database",
];

fn is_refusal(error: &impl fmt::Display) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    REFUSALS.iter().any(|refusal| text.contains(refusal))
}

/// A pool of connections. Cheap to clone.
pub(crate) struct Db<C: Backend> {
    pool: Pool<Manager<C>>,
    manager: Manager<C>,
}

impl<C: Backend> Clone for Db<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            manager: self.manager.clone(),
        }
    }
}

impl<C: Backend> fmt::Debug for Db<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("database", &C::NAME).finish()
    }
}

impl<C: Backend> Db<C> {
    /// A pool for at most `connections` at a time, unless the settings say otherwise. Nothing is
    /// connected yet.
    pub(crate) fn new(config: &Config, address: &Address, connections: u32) -> Self {
        let manager = Manager::new(address, config.database_timeout);
        let pool = Pool::builder()
            .max_size(config.database_pool_size.unwrap_or(connections))
            .min_idle(Some(0))
            .connection_timeout(config.database_timeout)
            // A round trip before each use would cost more than the rare failure it finds.
            .test_on_check_out(false)
            // Its own handler logs each attempt; an outage is told once, by whoever notices.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager.clone());
        Self { pool, manager }
    }

    /// The database's address, with its password.
    #[cfg(feature = "postgres")]
    pub(crate) fn url(&self) -> &Secret {
        self.manager.url()
    }

    /// A connection that is not the pool's, for what holds it as long as it lives.
    pub(crate) fn open(&self) -> Result<C, DbError> {
        Ok(self.manager.open()?)
    }

    /// A number that changes when connections that are open are no longer trusted.
    pub(crate) fn generation(&self) -> u64 {
        self.manager.generation().current()
    }

    /// Connections that are open now are not used any more: they may lead to a server that is dead, or
    /// no longer the primary.
    pub(crate) fn retire_all(&self) {
        self.manager.generation().end();
    }

    fn slot(&self) -> Result<PooledConnection<Manager<C>>, DbError> {
        loop {
            let mut slot = self.pool.get().map_err(DbError::Connection)?;
            if slot.is_good(self.manager.generation()) {
                return Ok(slot);
            }
        }
    }

    /// Runs blocking work on a connection. A connection that fails a ping after failed work is
    /// given up; so are all others if it is dead, or its server takes no writes.
    pub(crate) fn work<T>(
        &self,
        work: impl FnOnce(&mut C) -> diesel::QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut slot = self.slot()?;
        let outcome = work(slot.connection());
        if let Err(error) = &outcome
            && (slot.look_after_failure() || fault(error, None) == Fault::ReadOnly)
        {
            self.retire_all();
        }
        slot.used();
        outcome.map_err(DbError::Statement)
    }

    /// [`work`](Self::work) on a thread for blocking work.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut C) -> diesel::QueryResult<T> + Send + 'static,
    {
        let db = self.clone();
        tokio::task::spawn_blocking(move || db.work(work)).await?
    }

    /// Lends a connection for as long as `work` takes; also says whether the connection was found
    /// dead after work that had `failed`.
    pub(crate) fn lend<T>(
        &self,
        work: impl FnOnce(&mut C) -> T,
        failed: impl FnOnce(&T) -> bool,
    ) -> Result<(T, bool), DbError> {
        let mut slot = self.slot()?;
        let outcome = work(slot.connection());
        let is_dead = failed(&outcome) && slot.look_after_failure();
        if is_dead {
            self.retire_all();
        }
        slot.used();
        Ok((outcome, is_dead))
    }

    /// Fails with [`DbError::Tables`] where the tables are not there, and with
    /// [`DbError::TooOld`] where they could not be.
    pub(crate) async fn check_tables(&self) -> Result<(), DbError> {
        check_version(&self.run(C::server_version).await?)?;
        self.run(C::check_tables)
            .await
            .map_err(|error| match error {
                DbError::Statement(error) if !is_infrastructure(&error) => DbError::Tables(error),
                other => other,
            })
    }

    /// Waits until the database is there and has the tables. False where `shutdown` was wished for
    /// in the meantime.
    pub(crate) async fn ready(
        &self,
        outage: &mut Outage,
        shutdown: &Shutdown,
    ) -> Result<bool, DbError> {
        loop {
            let pause = match self.check_tables().await {
                Ok(()) => {
                    outage.over();
                    return Ok(true);
                }
                Err(error) if error.is_outage() => outage.noticed(&error),
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.wished() => return Ok(false),
            }
        }
    }
}
