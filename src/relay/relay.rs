//! The relay: the outbox's rows to a broker.

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{ConnectionManager, Pool};

use crate::backend::{Backend, rights};
use crate::config::Config;
use crate::db::{Address, Db};
use crate::engine::hooks::Hooks;
use crate::engine::settings::Settings;
use crate::engine::unknown_stream::unknown_stream;
use crate::engine::wake::{Waker, Watcher};
use crate::engine::{Engine, EngineError, EngineParts};
use crate::metrics::{self, Emitter};
use crate::runtime::cleanup::Cleanup;
use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::task::run_in_task;
use crate::stomp::{Connector, Error as StompError};

use super::error::RelayError;
use super::monitor::RelayMonitor;
use super::observer::RelayObserver;
use super::row_event::RowEvent;
use super::stats::RelayStats;
use super::status::RelayStatus;
use super::stomp::{StompDelivery, StompSettings};

/// Connections to the database: for a claim, a settlement and the clean-up.
const CONNECTIONS: u32 = 3;
/// Connections beside those: for the watch, and before it for the checks at the start.
const EXTRA_CONNECTIONS: u32 = 1;

/// Sends the rows of an outbox to a broker.
///
/// Any number of relays may work on one outbox: no row is sent by two of them while both live.
#[derive(Debug)]
pub struct Relay<C: Backend> {
    db: Db<C>,
    connector: Connector,
    settings: Settings,
    receipt_timeout: Duration,
    hooks: Hooks<RowEvent>,
    waker: Waker,
    monitor: RelayMonitor,
    /// Whether the relay watches the database for new rows.
    watches: bool,
    cleanup: Arc<Cleanup<C>>,
}

impl<C: Backend> Relay<C> {
    /// Creates a relay with these settings. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`RelayError`] if the settings are invalid, or an address cannot be parsed or is that of another
    /// database.
    pub fn new(config: &Config) -> Result<Self, RelayError> {
        config.validate()?;
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        Self::on(Db::for_engine(config, &address, CONNECTIONS), config)
    }

    /// Creates a relay that borrows its connections from a pool of the service. Nothing is borrowed yet, and
    /// the setting `database_url` is not used.
    ///
    /// The relay borrows up to 4 connections at a time: 3 for its work (or the setting `database_pool_size`),
    /// and 1 on which it watches for new rows. It returns a connection within 40 s after its last use. The pool's
    /// `max_size` must leave room for the service. While the service uses all connections, the relay waits
    /// as if the database were away, and no row fails.
    ///
    /// A borrowed connection has the relay's session settings, and gets its own back before it is returned. A
    /// connection that is broken is closed instead. The section "With your service's pool" of
    /// `docs/in-your-service.md` says what differs from a relay with a `database_url`.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel::PgConnection;
    /// use diesel::r2d2::{ConnectionManager, Pool};
    /// use diesel_outbox::Shutdown;
    /// use diesel_outbox::config::Config;
    /// use diesel_outbox::relay::Relay;
    ///
    /// let url = "postgres://shop@localhost/shop?tcp_user_timeout=30000&keepalives_idle=15";
    /// let pool = Pool::builder()
    ///     .max_size(14) // 10 for the service, 4 for the relay
    ///     .build(ConnectionManager::<PgConnection>::new(url))?;
    /// let config = Config::builder()
    ///     .set("stomp_url", "stomp://guest:guest@localhost:61613")
    ///     .build()?;
    /// let relay = Relay::with_pool(pool.clone(), &config)?;
    /// relay.run(&Shutdown::on_signals()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RelayError::Pool`] if the pool's `max_size` is too small, [`RelayError::Config`] if the settings
    /// are invalid.
    pub fn with_pool(
        pool: Pool<ConnectionManager<C>>,
        config: &Config,
    ) -> Result<Self, RelayError> {
        config.validate()?;
        let db = Db::borrowed_for_engine(config, pool, CONNECTIONS, EXTRA_CONNECTIONS)?;
        Self::on(db, config)
    }

    fn on(db: Db<C>, config: &Config) -> Result<Self, RelayError> {
        metrics::register(Emitter::Relay);
        let db = db.needing(rights::OF_RELAY);
        Ok(Self {
            cleanup: Arc::new(Cleanup::of_outbox(db.clone(), config)),
            db,
            connector: Connector::new(config.stomp_options()?, config.maximum_backoff),
            settings: Settings::new(config),
            receipt_timeout: config.receipt_timeout,
            hooks: Hooks::default(),
            waker: Waker::default(),
            monitor: RelayMonitor::default(),
            watches: config.wake_up,
        })
    }

    /// A handle that wakes this relay from the same process, for use after a commit.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// A handle that shows what this relay does, while it runs and afterwards.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel_outbox::Shutdown;
    /// use diesel_outbox::config::Config;
    /// use diesel_outbox::relay::{BrokerConnection, Relay};
    ///
    /// let relay = Relay::<diesel::SqliteConnection>::new(&Config::builder().build()?)?;
    /// let monitor = relay.monitor();
    /// tokio::spawn(async move { relay.run(&Shutdown::new()).await });
    ///
    /// // In a health check:
    /// let status = monitor.status();
    /// if let BrokerConnection::Disconnected(reason) = &status.connection {
    ///     println!("not connected: {reason}");
    /// }
    /// println!("{} rows/s, {} in flight", status.sent_per_second, status.in_flight);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        self.monitor.clone()
    }

    /// A snapshot of this relay's state. Because [`run`](Self::run) consumes the relay, use
    /// [`monitor`](Self::monitor) to get snapshots while it runs.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.monitor.status()
    }

    /// Calls `hook` for each row whose receipt has arrived. The database may not have the result yet; if
    /// the relay dies before it does, the row is sent again.
    ///
    /// Hooks are called on a separate thread. A panic is logged. A hook that blocks delays the other
    /// hooks, not the relay: while 10,000 rows wait for hooks, or a quarter of the setting `memory_limit`,
    /// hooks are not called for more rows.
    #[must_use]
    pub fn on_published(mut self, hook: impl Fn(&RowEvent) + Send + Sync + 'static) -> Self {
        self.hooks.sent = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each failed attempt after which the row is retried; see
    /// [`on_published`](Self::on_published). Outages are not failed attempts.
    #[must_use]
    pub fn on_failed(mut self, hook: impl Fn(&RowEvent) + Send + Sync + 'static) -> Self {
        self.hooks.failed = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each row that is parked; see [`on_published`](Self::on_published).
    #[must_use]
    pub fn on_parked(mut self, hook: impl Fn(&RowEvent) + Send + Sync + 'static) -> Self {
        self.hooks.parked = Some(Arc::new(hook));
        self
    }

    /// Sends the rows that are due until `shutdown` is requested. Then it claims no more rows, settles the
    /// rows in flight and releases the others. While the broker or the database is not available, it waits.
    ///
    /// The work is done in a task of the runtime. If this future is dropped, the task ends, and the leases
    /// end by themselves.
    ///
    /// # Errors
    ///
    /// [`RelayError`] if the tables are missing, a stream is unknown, or the broker refuses the login or the
    /// virtual host at the first connection.
    pub async fn run(self, shutdown: &Shutdown) -> Result<RelayStats, RelayError> {
        let shutdown = shutdown.clone();
        run_in_task(async move { self.run_until(&shutdown).await }).await
    }

    async fn run_until(mut self, shutdown: &Shutdown) -> Result<RelayStats, RelayError> {
        self.db = self.db.until(shutdown);
        let mut outage = Outage::of_database(self.settings.maximum_backoff);
        if !self.db.ready(&mut outage, shutdown).await? {
            return Ok(RelayStats::default());
        }
        self.check_streams().await?;
        let _watcher = self.watches.then(|| Watcher::start(&self.db, &self.waker));
        let cleanup = Arc::clone(&self.cleanup);
        let cleaning = async {
            cleanup.run(shutdown).await;
            // It ends with the relay, not before it.
            std::future::pending().await
        };
        tokio::select! {
            stats = self.work(shutdown, false) => stats,
            never = cleaning => never,
        }
    }

    /// Sends all rows that are due now and ends, in a task as [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`RelayError`] if the tables are missing, a stream is unknown, or the database or the broker is not
    /// available or refuses the connection. The rows that were sent before are settled.
    pub async fn run_once(self, shutdown: &Shutdown) -> Result<RelayStats, RelayError> {
        let shutdown = shutdown.clone();
        run_in_task(async move { self.drain(&shutdown).await }).await
    }

    async fn drain(mut self, shutdown: &Shutdown) -> Result<RelayStats, RelayError> {
        self.db = self.db.until(shutdown);
        self.db.check_tables().await?;
        self.check_streams().await?;
        let cleanup = Arc::clone(&self.cleanup);
        let stats = self.work(shutdown, true).await?;
        cleanup.once().await;
        Ok(stats)
    }

    /// Runs the engine with a delivery over STOMP.
    async fn work(self, shutdown: &Shutdown, once: bool) -> Result<RelayStats, RelayError> {
        let stomp = StompSettings {
            window: self.settings.window,
            maximum_message_size: self.settings.maximum_message_size,
            receipt_timeout: self.receipt_timeout,
            once,
        };
        let delivery = StompDelivery::new(self.connector, stomp, self.monitor.clone());
        let hooks = self.hooks.start(self.settings.memory_limit / 4);
        let observer = RelayObserver::new(hooks, self.monitor.clone());
        let parts = EngineParts {
            settings: self.settings,
            observer,
            waker: self.waker,
            once,
        };
        Engine::new(self.db, delivery, parts, shutdown)
            .run()
            .await?;
        Ok(self.monitor.stats())
    }

    /// Fails if a stream of the settings is unknown: a misspelled one would never be sent.
    async fn check_streams(&self) -> Result<(), RelayError> {
        if let Some(unknown) = unknown_stream(&self.db, &self.settings.scope.streams).await? {
            return Err(unknown.into());
        }
        Ok(())
    }
}

impl From<EngineError<StompError>> for RelayError {
    fn from(error: EngineError<StompError>) -> Self {
        match error {
            EngineError::Delivery(error) => Self::Broker(error),
            EngineError::Database(error) => Self::Database(error),
        }
    }
}
