//! The database of the programs: a pool, and blocking work kept off the runtime's threads.

mod address;
mod fault;
mod manager;
mod schema;

use std::fmt;
use std::sync::Arc;

use r2d2::Pool;

use crate::backend::{Backend, TooOld, check_version};
use crate::config::Config;
#[cfg(feature = "postgres")]
use crate::config::Secret;
use crate::outage::Outage;
use crate::shutdown::Shutdown;

pub use address::{Address, AddressError};
pub(crate) use fault::{is_contention, is_infrastructure};
use manager::Manager;
use schema::Schema;

/// Why work on the database was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// No connection could be had in time: the server is away, or refuses us.
    #[error("no connection to the database: {0}")]
    Connection(#[source] r2d2::Error),
    /// A statement failed.
    #[error("the database refused: {0}")]
    Statement(#[from] diesel::result::Error),
    /// A table is missing, or has another shape.
    #[error(
        "the outbox's tables are missing or out of date{place}: run `outbox migrate` on this database ({source})"
    )]
    Tables {
        /// In which schema they were looked for, and which others have an outbox.
        place: String,
        /// The database's words.
        source: diesel::result::Error,
    },
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
            Self::Connection(error) => {
                let text = error.to_string().to_ascii_lowercase();
                !REFUSALS.iter().any(|refusal| text.contains(refusal))
            }
            Self::Statement(error) => is_infrastructure(error),
            Self::Tables { .. } | Self::TooOld(_) | Self::Unfinished(_) => false,
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

/// A pool of connections. Cheap to clone.
pub(crate) struct Db<C: Backend> {
    pool: Pool<Manager<C>>,
    apart: Arc<Manager<C>>,
    schema: Arc<Schema>,
}

impl<C: Backend> Clone for Db<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            apart: Arc::clone(&self.apart),
            schema: Arc::clone(&self.schema),
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
        let pool = Pool::builder()
            .max_size(config.database_pool_size.unwrap_or(connections))
            .min_idle(Some(0))
            .connection_timeout(config.database_timeout)
            // Asks the server only if the connection was idle: one that the server has closed is
            // replaced before work is tried on it.
            .test_on_check_out(true)
            // Its own handler logs each attempt; an outage is told once, by whoever notices.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Manager::new(address, config.database_timeout));
        Self {
            pool,
            apart: Arc::new(Manager::new(address, config.database_timeout)),
            schema: Arc::new(Schema::new(config.database_schema.as_deref())),
        }
    }

    /// The database's address, with its password.
    #[cfg(feature = "postgres")]
    pub(crate) fn url(&self) -> &Secret {
        self.apart.url()
    }

    /// A connection that is not the pool's, for what holds it as long as it lives.
    pub(crate) fn connect_apart(&self) -> Result<C, String> {
        self.apart.open()
    }

    /// Runs blocking work on a connection. A connection that fails a ping after failed work is
    /// given up.
    pub(crate) fn work<T>(
        &self,
        work: impl FnOnce(&mut C) -> diesel::QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut slot = self.pool.get().map_err(DbError::Connection)?;
        let outcome = self.schema.within(slot.connection(), work);
        if outcome.is_err() {
            slot.look_after_failure();
        }
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
        let mut slot = self.pool.get().map_err(DbError::Connection)?;
        let outcome = self.schema.within(slot.connection(), work);
        let is_dead = failed(&outcome) && slot.look_after_failure();
        Ok((outcome, is_dead))
    }

    /// Runs work that has no connection of ours, on this thread, so that what it does with the
    /// outbox means the same schema.
    pub(crate) fn in_schema<T>(&self, work: impl FnOnce() -> T) -> T {
        crate::current_schema::within(self.schema.name(), work)
    }

    /// The schema of the outbox, if it is known.
    #[cfg(feature = "postgres")]
    pub(crate) fn schema(&self) -> Option<Arc<str>> {
        self.schema.name()
    }

    /// Fails with [`DbError::Tables`] if the tables are not there, and with [`DbError::TooOld`] if
    /// they could not be.
    pub(crate) async fn check_tables(&self) -> Result<(), DbError> {
        check_version(&self.run(C::server_version).await?)?;
        let source = match self.run(C::check_tables).await {
            Ok(()) => {
                self.warn_of_others().await;
                return Ok(());
            }
            Err(DbError::Statement(error)) if !is_infrastructure(&error) => error,
            Err(other) => return Err(other),
        };
        let given = self.schema.given();
        let found = self
            .run(move |conn| conn.find_schema(given.as_deref()))
            .await?;
        Err(DbError::Tables {
            place: schema::place(&found),
            source,
        })
    }

    /// A search path with two outboxes in it means one of them today and another one tomorrow.
    async fn warn_of_others(&self) {
        if self.schema.given().is_some() {
            return;
        }
        // The tables are there: what fails here is told by the next statement.
        if let Ok(found) = self.run(|conn| conn.find_schema(None)).await
            && !found.others.is_empty()
        {
            tracing::warn!(
                schema = found.schema,
                others = ?found.others,
                "the search path has more than one outbox; set database_schema"
            );
        }
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
