//! A subscriber: what it consumes, and how it starts and ends.

use std::time::Duration;

use diesel::r2d2::{ConnectionManager, Pool};

use super::error::SubscribeError;
use super::monitor::SubscriberMonitor;
use super::queue::Queue;
use super::queue_error::QueueError;
use super::settings::Settings;
use super::stats::SubscriberStats;
use super::status::SubscriberStatus;
use crate::backend::{Backend, rights};
use crate::callback::kind::Callback;
use crate::callback::{Registry, celery};
use crate::config::Config;
use crate::db::{Address, Db};
use crate::metrics::{self, Emitter, SubscriberMetrics};
use crate::runtime::cleanup::Cleanup;
use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::task::run_in_task;
use crate::stomp;

/// Consumes a queue. Each message has its effect once: its inbox row is written in the transaction in
/// which the callback works.
#[derive(Debug)]
pub struct Subscriber<C: Backend> {
    db: Db<C>,
    pub(super) callback: Callback<C>,
    /// The callback's name, for the metrics.
    pub(super) callback_name: String,
    pub(super) options: stomp::Options,
    pub(super) settings: Settings,
    pub(super) delivery_limit: Option<u32>,
    cleanup: Cleanup<C>,
    pub(super) maximum_backoff: Duration,
    pub(super) monitor: SubscriberMonitor,
}

/// Database connections beside those of the workers: one for the deletion of old rows.
const CONNECTIONS: u32 = 1;
/// Connections beside those: two for a message for which the database has failed, and one for the check of
/// the database.
const EXTRA_CONNECTIONS: u32 = 3;

impl<C: Backend> Subscriber<C> {
    /// A subscriber of `destination` that calls the callback with this name. Without `queue` the queue
    /// has the name of the destination's last segment; if the destination is a queue, `queue` must be its
    /// name or `None`. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If the settings, the callback's name or the destination are invalid.
    pub fn new(
        config: &Config,
        registry: &Registry<C>,
        callback: &str,
        destination: &str,
        queue: Option<&str>,
    ) -> Result<Self, SubscribeError> {
        config.validate()?;
        let names = (callback, destination, queue);
        Self::on(config, registry, names, |connections| {
            let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
            Ok(Db::for_callbacks(config, &address, connections))
        })
    }

    /// The same on connections that are borrowed from a pool of the service. The setting `database_url` is not
    /// used.
    ///
    /// The subscriber borrows up to `workers` + 4 connections at a time: one for each worker and one for
    /// the deletion of old rows (or the setting `database_pool_size` instead of both), and 3 by which it finds
    /// out whether a lost connection is an outage of the database or the fault of a message. It returns a
    /// connection within 40 s after its last use. The pool's `max_size` must leave room for the service.
    /// While the service uses all connections, the subscriber waits as if the database were away, and no attempt
    /// counts.
    ///
    /// A borrowed connection has the subscriber's session settings, and gets its own back before it is returned.
    /// A connection that is broken is closed instead. The section "With your service's pool" of
    /// `docs/in-your-service.md` says what differs from a subscriber with a `database_url`.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel::PgConnection;
    /// use diesel::r2d2::{ConnectionManager, Pool};
    /// use diesel_outbox::config::Config;
    /// use diesel_outbox::prelude::{BoxError, Payload, Registry};
    /// use diesel_outbox::Shutdown;
    /// use diesel_outbox::subscriber::Subscriber;
    ///
    /// fn bill(conn: &mut PgConnection, payload: &Payload) -> Result<(), BoxError> {
    ///     // ...
    ///     Ok(())
    /// }
    ///
    /// let url = "postgres://shop@localhost/shop?tcp_user_timeout=30000&keepalives_idle=15";
    /// let pool = Pool::builder()
    ///     .max_size(18) // 10 for the service, 8 for the subscriber
    ///     .build(ConnectionManager::<PgConnection>::new(url))?;
    /// let config = Config::builder()
    ///     .set("stomp_url", "stomp://guest:guest@localhost:61613")
    ///     .set("workers", 4)
    ///     .build()?;
    /// let registry = Registry::new().on("bill", bill);
    /// let subscriber =
    ///     Subscriber::with_pool(pool.clone(), &config, &registry, "bill", "/topic/orders.v1", Some("billing"))?;
    /// subscriber.run(&Shutdown::on_signals()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Pool`] if the pool's `max_size` is too small, and those of [`new`](Self::new).
    pub fn with_pool(
        pool: Pool<ConnectionManager<C>>,
        config: &Config,
        registry: &Registry<C>,
        callback: &str,
        destination: &str,
        queue: Option<&str>,
    ) -> Result<Self, SubscribeError> {
        config.validate()?;
        let names = (callback, destination, queue);
        Self::on(config, registry, names, |connections| {
            Ok(Db::borrowed_for_callbacks(
                config,
                pool,
                connections,
                EXTRA_CONNECTIONS,
            )?)
        })
    }

    fn on(
        config: &Config,
        registry: &Registry<C>,
        (callback, destination, queue): (&str, &str, Option<&str>),
        db: impl FnOnce(u32) -> Result<Db<C>, SubscribeError>,
    ) -> Result<Self, SubscribeError> {
        let mut id_headers = config.msg_id_headers.clone();
        let callback_name = callback.to_owned();
        if registry.runs_tasks(callback) {
            id_headers = celery::id_headers(id_headers);
        }
        let callback = registry.get(callback, config.exec_timeout)?;
        let workers = u32::try_from(config.workers).unwrap_or(u32::MAX);
        let queue = Queue::of(config, destination, queue)?;
        let mut db = db(workers.saturating_add(CONNECTIONS))?.needing(rights::OF_SUBSCRIBER);
        if config.delivery_limit.is_some() {
            db = db.needing(rights::OF_CRASH_COUNT);
        }
        metrics::register(Emitter::Subscriber);
        // Its series exist from now on.
        drop(SubscriberMetrics::new(&callback_name));
        Ok(Self {
            cleanup: Cleanup::of_inbox(db.clone(), config),
            db,
            callback,
            callback_name,
            options: config.stomp_options()?,
            settings: Settings {
                queue,
                workers: config.workers,
                key_header: config.key_header.clone(),
                dead_letter: config.dead_letter,
                attempts: config.callback_attempts,
                first_delay: config.callback_first_delay,
                longest_delay: config.retry_maximum_delay,
                shutdown_timeout: config.shutdown_timeout,
                id_headers,
                consumer: config.consumer.clone(),
            },
            delivery_limit: config.delivery_limit,
            maximum_backoff: config.maximum_backoff,
            monitor: SubscriberMonitor::default(),
        })
    }

    /// One subscriber for each [`Config::subscription`]. Each has its own connection and its own
    /// prefetch: an ERROR of the broker ends the connection of one subscriber only.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new); if two of them have the same queue, because the second would take
    /// messages of the first; and if two of them receive the same messages under one consumer.
    pub fn all(config: &Config, registry: &Registry<C>) -> Result<Vec<Self>, SubscribeError> {
        let mut all: Vec<Self> = Vec::new();
        for one in &config.subscription {
            let queue = one.queue.as_deref();
            let (callback, destination) = (&one.callback, &one.destination);
            let next = Self::new(&one.config, registry, callback, destination, queue)?;
            let conflict = all.iter().find_map(|other| other.conflict_with(&next));
            if let Some(error) = conflict {
                return Err(error.into());
            }
            all.push(next);
        }
        Ok(all)
    }

    /// Why one process cannot have both subscriptions.
    fn conflict_with(&self, other: &Self) -> Option<QueueError> {
        let (one, other) = (&self.settings, &other.settings);
        one.queue
            .conflict_with(&one.consumer, &other.queue, &other.consumer)
    }

    /// The name of the queue.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.settings.queue.name
    }

    /// A handle that shows what the subscriber does, while it runs and afterwards.
    #[must_use]
    pub fn monitor(&self) -> SubscriberMonitor {
        self.monitor.clone()
    }

    /// A snapshot of the subscriber's state. [`run`](Self::run) takes the subscriber, so get a
    /// [`monitor`](Self::monitor) before it.
    #[must_use]
    pub fn status(&self) -> SubscriberStatus {
        self.monitor.status()
    }

    /// Consumes until the shutdown signal is given: then no more messages are dispatched, the running
    /// callbacks finish, and their messages are acknowledged. During an outage of the broker or the
    /// database it waits.
    ///
    /// It works in a task of the runtime, which ends if this future is dropped. Callbacks that run at that
    /// moment continue to their commits; their messages are redelivered and find their inbox rows.
    ///
    /// # Errors
    ///
    /// If the tables are missing, or if the broker refuses the login, the virtual host or the queue's
    /// arguments at the first connection; [`SubscribeError::Unfinished`] if callbacks took longer than
    /// `shutdown_timeout`.
    pub async fn run(self, shutdown: &Shutdown) -> Result<SubscriberStats, SubscribeError> {
        let shutdown = shutdown.clone();
        let monitor = self.monitor.clone();
        let result = run_in_task(async move { self.work(&shutdown).await }).await;
        monitor.stopped();
        result
    }

    async fn work(self, shutdown: &Shutdown) -> Result<SubscriberStats, SubscribeError> {
        let db = self.db.clone().until(shutdown);
        let mut outage = Outage::of_database(self.maximum_backoff);
        // Nothing uses the database before its tables and settings are checked.
        if !db.ready(&mut outage, shutdown).await? {
            return Ok(SubscriberStats::default());
        }
        let cleaning = async {
            self.cleanup.run(shutdown).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = self.consume(&db, outage, shutdown) => result,
            // Pending, so that only the subscriber ends the select.
            () = cleaning => Ok(SubscriberStats::default()),
        }
    }
}
