//! The database of the programs: a pool, and blocking work kept off the runtime's threads.

mod address;
mod fault;
mod health;
mod manager;
mod pool;
mod schema;
mod session;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::{Backend, TooOld, check_version};
use crate::config::Config;
#[cfg(feature = "postgres")]
use crate::config::Secret;
use crate::outage::Outage;
use crate::shutdown::Shutdown;

pub use address::{Address, AddressError};
#[doc(hidden)]
pub use fault::LastError;
pub(crate) use fault::{
    Fault, fault, is_contention, is_infrastructure, is_interrupted, is_of_a_connection,
    is_unexplained, is_unknown, is_unsent,
};
pub(crate) use health::{Health, Witness};
pub use manager::ConnectError;
use manager::Manager;
use pool::Pool;
use schema::Schema;
use session::Session;
use threads::Threads;

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
    /// The database did not answer in time. Whether the work was done is unknown.
    #[error("no answer from the database within {after:?}; the connection is given up")]
    Silent {
        /// How long it had.
        after: Duration,
    },
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
    /// The work panicked, or no thread could be started for it.
    #[error("the work on the database was not finished")]
    Panicked,
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
            Self::Silent { .. } => true,
            Self::Statement(error) => is_infrastructure(error),
            Self::Tables { .. } | Self::TooOld(_) | Self::Panicked | Self::Unfinished(_) => false,
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

/// How long work may still take when we are asked to stop.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// A pool of connections. Cheap to clone.
pub(crate) struct Db<C: Backend> {
    pool: Arc<Pool<C>>,
    manager: Manager<C>,
    schema: Arc<Schema>,
    threads: Threads,
    /// How long work of ours may take.
    limit: Option<Duration>,
    /// Work takes no longer than [`FAREWELL`] after this.
    shutdown: Option<Shutdown>,
}

impl<C: Backend> Clone for Db<C> {
    fn clone(&self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            manager: self.manager.clone(),
            schema: Arc::clone(&self.schema),
            threads: self.threads.clone(),
            limit: self.limit,
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<C: Backend> fmt::Debug for Db<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("database", &C::NAME).finish()
    }
}

impl<C: Backend> Db<C> {
    /// A pool for at most `connections` at a time, unless the settings say otherwise, for commands
    /// that somebody waits for: work may take as long as it takes. Nothing is connected yet.
    pub(crate) fn new(config: &Config, address: &Address, connections: u32) -> Self {
        let session = Session::new(address, config, None);
        Self::with(config, address, connections, session)
    }

    /// For callbacks, whose statements have no limit; our own have `statement_timeout`.
    pub(crate) fn for_callbacks(config: &Config, address: &Address, connections: u32) -> Self {
        Self::new(config, address, connections).limited_by(config)
    }

    /// For statements of ours only: the server ends them too.
    pub(crate) fn for_ourselves(config: &Config, address: &Address, connections: u32) -> Self {
        let session = Session::new(address, config, Some(config.statement_timeout));
        Self::with(config, address, connections, session).limited_by(config)
    }

    fn with(config: &Config, address: &Address, connections: u32, session: Session) -> Self {
        let manager = Manager::new(address, session);
        let size = config.database_pool_size.unwrap_or(connections);
        Self {
            pool: Arc::new(Pool::new(manager.clone(), size, config.database_timeout)),
            manager,
            schema: Arc::new(Schema::new(config.database_schema.as_deref())),
            threads: Threads::default(),
            limit: None,
            shutdown: None,
        }
    }

    fn limited_by(self, config: &Config) -> Self {
        // It may have to wait for a connection first.
        let limit = config.statement_timeout + config.database_timeout;
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// Makes work end soon after `shutdown` is requested.
    pub(crate) fn until(self, shutdown: &Shutdown) -> Self {
        Self {
            shutdown: Some(shutdown.clone()),
            ..self
        }
    }

    /// How long work of ours may take now, if there is a limit.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let is_stopping = self.shutdown.as_ref().is_some_and(Shutdown::is_stopping);
        let limit = self.limit?;
        Some(if is_stopping {
            limit.min(FAREWELL)
        } else {
            limit
        })
    }

    /// Does blocking work on a thread, and waits for it, but not for ever: a thread that waits for a
    /// silent server is left behind, and with it its pool.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DbError> {
        let pool = self.pool_in_use();
        let done: oneshot::Receiver<T> = self.threads.run(work);
        tokio::select! {
            done = done => done.map_err(|_| DbError::Panicked),
            after = self.too_long() => {
                self.give_up(pool);
                Err(DbError::Silent { after })
            }
        }
    }

    /// Returns when work that begins now has taken too long.
    async fn too_long(&self) -> Duration {
        let Some(limit) = self.limit else {
            return std::future::pending().await;
        };
        let stopped = async {
            match &self.shutdown {
                Some(shutdown) => shutdown.wished().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = tokio::time::sleep(limit) => limit,
            () = stopped => FAREWELL,
        }
    }

    /// Gives up this pool with all of its connections, those too that are in use. Nothing happens
    /// where that was done before.
    pub(crate) fn give_up(&self, pool: u64) {
        let Some(retired) = self.pool.replace(pool) else {
            return;
        };
        self.retire_all();
        // To close a connection may block, too.
        drop(self.threads.run(move || drop(retired)));
    }

    /// The database's address, with its password.
    #[cfg(feature = "postgres")]
    pub(crate) fn url(&self) -> &Secret {
        self.manager.url()
    }

    /// A number that changes when a pool is given up.
    pub(crate) fn pool_in_use(&self) -> u64 {
        self.pool.number()
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

    /// Runs blocking work on a connection. A connection that fails a ping after failed work is
    /// given up; so are all others if it is dead, or its server takes no writes.
    pub(crate) fn work<T>(
        &self,
        work: impl FnOnce(&mut C) -> diesel::QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut slot = self.pool.get()?;
        let outcome = self.schema.within(slot.connection(), work);
        if let Err(error) = &outcome
            && (slot.look_after_failure() || fault(error, None) == Fault::ReadOnly)
        {
            self.retire_all();
        }
        outcome.map_err(DbError::Statement)
    }

    /// [`work`](Self::work), [`apart`](Self::apart).
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut C) -> diesel::QueryResult<T> + Send + 'static,
    {
        let db = self.clone();
        self.apart(move || db.work(work)).await?
    }

    /// Lends a connection for as long as `work` takes; also says whether the connection was found
    /// dead after work that had `failed`.
    pub(crate) fn lend<T>(
        &self,
        work: impl FnOnce(&mut C) -> T,
        failed: impl FnOnce(&T) -> bool,
    ) -> Result<(T, bool), DbError> {
        let mut slot = self.pool.get()?;
        let outcome = self.schema.within(slot.connection(), work);
        let is_dead = failed(&outcome) && slot.look_after_failure();
        if is_dead {
            self.retire_all();
        }
        Ok((outcome, is_dead))
    }

    /// Runs work on a connection of its own, with which the outbox means the same schema.
    pub(crate) fn within<T>(&self, conn: &mut C, work: impl FnOnce(&mut C) -> T) -> T {
        self.schema.within(conn, work)
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
        // The tables are there: if this fails, the next statement returns the error.
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
