//! The database of the programs: a pool, and blocking work kept off the runtime's threads.

mod connection;
mod error;
mod health;
mod lender;
mod manager;
mod mask;
mod pool;
mod pooler;
mod rights;
mod schema;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::session::{Purpose, Session};
use crate::backend::{Backend, Needed, Tables};
use crate::config::{Config, Secret};
use crate::metrics::DatabaseErrors;
use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;

pub use crate::backend::{Address, AddressError};
pub(crate) use crate::backend::{
    Fault, fault, is_contention, is_infrastructure, is_interrupted, is_of_a_connection,
    is_unexplained, is_unknown, is_unsent,
};
pub(crate) use connection::DbConnection;
pub use error::DbError;
pub(crate) use health::{Health, SecondConnection};
use lender::Lender;
pub use lender::PoolTooSmall;
pub(crate) use lender::ServicePool;
pub use manager::ConnectError;
use manager::{Manager, Source};
use pool::Pool;
use schema::Schema;
pub(crate) use threads::Threads;

/// How long work may still take after a shutdown request.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections. Cheap to clone.
pub(crate) struct Db<C: Backend> {
    pool: Arc<Pool<C>>,
    manager: Manager<C>,
    schema: Arc<Schema>,
    threads: Threads,
    /// The time limit of our work.
    limit: Option<Duration>,
    /// Whether rows are claimed on it.
    claims: bool,
    /// The rights that the program needs.
    needed: Vec<Needed>,
    /// The shutdown signal. After it work takes at most [`CLOSE_TIMEOUT`].
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
            claims: self.claims,
            needed: self.needed.clone(),
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
    /// A pool of at most `connections`, unless the settings say otherwise, for commands
    /// that a user waits for: work has no time limit. Nothing is connected yet.
    pub(crate) fn new(config: &Config, address: &Address, connections: u32) -> Self {
        let session = Session::new::<C>(config, Purpose::Commands);
        Self::with(
            config,
            Source::address(address, &session),
            connections,
            session,
        )
    }

    /// A pool of one connection that creates the file of an SQLite database if it does not exist.
    pub(crate) fn creating(config: &Config, address: &Address) -> Self {
        let session = Session::new::<C>(config, Purpose::Commands).creating();
        Self::with(config, Source::address(address, &session), 1, session)
    }

    /// For statements that only read, each with the time limit of our statements.
    #[cfg(feature = "cli")]
    pub(crate) fn for_checks(config: &Config, address: &Address) -> Self {
        Self::new(config, address, 1).limited_by(config)
    }

    /// For the pages: each operation has the time limit of our statements.
    #[cfg(feature = "web")]
    pub(crate) fn for_pages(config: &Config, address: &Address, connections: u32) -> Self {
        Self::new(config, address, connections).limited_by(config)
    }

    /// The same on connections of a service's pool.
    #[cfg(feature = "web")]
    pub(crate) fn borrowed_for_pages(
        config: &Config,
        pool: ServicePool<C>,
        connections: u32,
    ) -> Result<Self, PoolTooSmall> {
        let session = Session::new::<C>(config, Purpose::Commands);
        let db = Self::borrowing(config, pool, (connections, 0), session)?;
        Ok(db.limited_by(config))
    }

    /// The same pool for an operation without a time limit.
    #[cfg(feature = "web")]
    pub(crate) fn unlimited(&self) -> Self {
        Self {
            limit: None,
            ..self.clone()
        }
    }

    /// For callbacks, whose statements have no limit; our own are limited by `statement_timeout`.
    pub(crate) fn for_callbacks(config: &Config, address: &Address, connections: u32) -> Self {
        let session = Session::new::<C>(config, Purpose::Callbacks);
        let source = Source::address(address, &session);
        Self::with(config, source, connections, session).limited_by(config)
    }

    /// The same on connections of a service's pool; `extra` of them are used beside those of the workers.
    pub(crate) fn borrowed_for_callbacks(
        config: &Config,
        pool: ServicePool<C>,
        connections: u32,
        extra: u32,
    ) -> Result<Self, PoolTooSmall> {
        let session = Session::new::<C>(config, Purpose::Callbacks);
        let db = Self::borrowing(config, pool, (connections, extra), session)?;
        Ok(db.limited_by(config))
    }

    /// For our statements only: the server ends them too.
    pub(crate) fn for_engine(config: &Config, address: &Address, connections: u32) -> Self {
        let session = Session::new::<C>(config, Purpose::Relay(config.statement_timeout));
        let source = Source::address(address, &session);
        Self {
            claims: true,
            ..Self::with(config, source, connections, session).limited_by(config)
        }
    }

    /// The same on connections of a service's pool.
    pub(crate) fn borrowed_for_engine(
        config: &Config,
        pool: ServicePool<C>,
        connections: u32,
        extra: u32,
    ) -> Result<Self, PoolTooSmall> {
        let session = Session::new::<C>(config, Purpose::Relay(config.statement_timeout));
        let db = Self::borrowing(config, pool, (connections, extra), session)?;
        Ok(Self {
            claims: true,
            ..db.limited_by(config)
        })
    }

    fn borrowing(
        config: &Config,
        pool: ServicePool<C>,
        (connections, extra): (u32, u32),
        session: Session,
    ) -> Result<Self, PoolTooSmall> {
        let size = config.database_pool_size.unwrap_or(connections);
        let needed = size.saturating_add(extra);
        let lender = Lender::new(pool, needed, config.database_timeout, Threads::default())?;
        Ok(Self::with(config, Source::Pool(lender), size, session))
    }

    fn with(config: &Config, source: Source<C>, connections: u32, session: Session) -> Self {
        let manager = Manager::new(source, session);
        let size = config.database_pool_size.unwrap_or(connections);
        Self {
            pool: Arc::new(Pool::new(manager.clone(), size, config.database_timeout)),
            manager,
            schema: Arc::new(Schema::new(
                config.database_schema.as_deref(),
                config.keys_to_sign(),
            )),
            threads: Threads::default(),
            limit: None,
            claims: false,
            needed: Vec::new(),
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

    /// Makes [`check_tables`](Self::check_tables) fail if the user lacks one of these rights.
    pub(crate) fn needing(mut self, rights: &[Needed]) -> Self {
        self.needed.extend_from_slice(rights);
        if self.claims {
            self.needed.extend_from_slice(C::CLAIM_RIGHTS);
        }
        self
    }

    /// Makes work end soon after `shutdown` is requested.
    pub(crate) fn until(self, shutdown: &Shutdown) -> Self {
        Self {
            shutdown: Some(shutdown.clone()),
            ..self
        }
    }

    /// The present time limit of our work, if there is one.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let is_stopping = self.shutdown.as_ref().is_some_and(Shutdown::is_stopping);
        let limit = self.limit?;
        Some(if is_stopping {
            limit.min(CLOSE_TIMEOUT)
        } else {
            limit
        })
    }

    /// Runs blocking work on a thread and waits for it until the time limit: a thread that waits for a
    /// silent server is abandoned, together with its pool.
    pub(crate) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DbError> {
        let pool = self.pool_in_use();
        let done: oneshot::Receiver<T> = self.threads.run(work);
        tokio::select! {
            done = done => done.map_err(|_| DbError::Panicked),
            after = self.too_long() => {
                self.abandon(pool);
                Err(DbError::Silent { after })
            }
        }
    }

    /// Returns when work that starts now has reached its time limit.
    async fn too_long(&self) -> Duration {
        let Some(limit) = self.limit else {
            return std::future::pending().await;
        };
        let stopped = async {
            match &self.shutdown {
                Some(shutdown) => shutdown.requested().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = tokio::time::sleep(limit) => limit,
            () = stopped => CLOSE_TIMEOUT,
        }
    }

    /// Abandons this pool with all of its connections, including those in use. Does nothing
    /// if that was done before.
    pub(crate) fn abandon(&self, pool: u64) {
        let Some(retired) = self.pool.replace(pool) else {
            return;
        };
        self.retire_all();
        // Closing a connection may block, too.
        drop(self.threads.run(move || drop(retired)));
    }

    /// The database's address, with its password. A service's pool has none.
    pub(crate) fn url(&self) -> Option<&Secret> {
        self.manager.url()
    }

    /// A text from a database client, without the address's password and on one line.
    pub(crate) fn masked(&self, text: &str) -> String {
        self.manager.masked(text)
    }

    /// A number that changes when a pool is abandoned.
    pub(crate) fn pool_in_use(&self) -> u64 {
        self.pool.number()
    }

    /// Opens a connection outside of the pool, for a caller that keeps it as long as it runs.
    pub(crate) fn open(&self) -> Result<DbConnection<C>, DbError> {
        Ok(self.manager.open()?)
    }

    /// A number that changes when open connections are no longer trusted.
    pub(crate) fn generation(&self) -> u64 {
        self.manager.generation().current()
    }

    /// Stops the use of all connections that are open now: their server may be dead, or
    /// no longer the primary.
    pub(crate) fn retire_all(&self) {
        self.manager.generation().end();
    }

    /// Runs blocking work on a connection. If a connection fails a ping after failed work, it is
    /// discarded. All others are discarded too if it is dead or its server takes no writes.
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

    /// As [`work`](Self::work), [`on_thread`](Self::on_thread).
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut C) -> diesel::QueryResult<T> + Send + 'static,
    {
        let db = self.clone();
        self.on_thread(move || db.work(work)).await?
    }

    /// Lends a connection to `work`. Also returns whether the connection was found
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

    /// Runs work on a connection outside of the pool, with statements that mean the pool's schema.
    pub(crate) fn within<T>(&self, conn: &mut C, work: impl FnOnce(&mut C) -> T) -> T {
        self.schema.within(conn, work)
    }

    /// Runs work that uses no connection of ours on this thread, with outbox calls that mean the pool's
    /// schema.
    pub(crate) fn in_schema<T>(&self, work: impl FnOnce() -> T) -> T {
        self.schema.within_known(work)
    }

    /// The schema of the outbox, if it is known.
    pub(crate) fn schema(&self) -> Option<Arc<str>> {
        self.schema.name()
    }

    /// Fails at once if no connection can be opened. The pool would retry until its time limit, even with
    /// a wrong password.
    pub(crate) async fn check_connection(&self) -> Result<(), DbError> {
        let db = self.clone();
        self.on_thread(move || db.open().map(drop)).await?
    }

    /// Fails with [`DbError::Tables`] if the tables are missing, with [`DbError::Rights`] if the user
    /// may not read them, with [`DbError::MissingRights`] if the user lacks another right that the program
    /// [needs](Self::needing), with [`DbError::RowSecurity`] if row-level security hides all rows, with
    /// [`DbError::TooOld`] if the server cannot have them, and with [`DbError::Unsuitable`] if the server does not
    /// support what the program needs.
    pub(crate) async fn check_tables(&self) -> Result<(), DbError> {
        // Before any setting of a session is changed.
        self.check_sessions().await?;
        self.check_connection().await?;
        C::check_version(&self.run(C::server_version).await?)?;
        if self.claims
            && let Some(reason) = self.run(C::why_no_claims).await?
        {
            return Err(reason.into());
        }
        let source = match self.run(C::check_tables).await {
            Ok(()) => {
                self.check_rights().await?;
                self.warn_of_others().await;
                return Ok(());
            }
            Err(DbError::Statement(error)) if !is_infrastructure(&error) => error,
            Err(other) => return Err(other),
        };
        let given = self.schema.given();
        let (source, found, tables) = self
            .run(move |conn| {
                let tables = conn.why_no_tables(given.as_deref(), &source)?;
                Ok((source, conn.find_schema(given.as_deref())?, tables))
            })
            .await?;
        Err(match tables {
            Tables::Missing => DbError::Tables {
                place: schema::place(&found),
                source,
            },
            Tables::Denied => DbError::Rights {
                place: schema::place(&found),
                source,
            },
            Tables::Exist => DbError::Statement(source),
        })
    }

    /// Warns if the search path contains two outboxes: which one it means may change at any time.
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

    /// Waits until the database is available and has the tables. Returns false if `shutdown` was requested
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
                Err(error) if error.is_outage() => {
                    DatabaseErrors::default().count(&error);
                    outage.pause_after(&error)
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return Ok(false),
            }
        }
    }
}
