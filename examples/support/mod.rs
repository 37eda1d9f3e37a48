//! The surroundings of the examples: an SQLite file and a broker in this process.
//!
//! `DATABASE_URL` is not read, so that nothing but this process is needed. In production the programs
//! `publish` and `subscribe` do this work.
#![allow(dead_code)] // each example uses its own part of it

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::admin;
use diesel_outbox::config::{Config, SubscriptionConfig};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::{Subscriber, SubscriberStats};
use diesel_outbox::testing::{self, LoopbackBroker, Settled};
use diesel_outbox::{Registry, Shutdown};
use tokio::task::JoinHandle;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) broker: Arc<LoopbackBroker>,
    _folder: tempfile::TempDir,
}

/// A subscriber in the background.
pub(crate) struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<SubscriberStats, diesel_outbox::subscriber::SubscribeError>>,
}

impl World {
    /// Starts the broker, and creates the outbox's tables and those of the SQL in `tables`.
    pub(crate) fn new(tables: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let broker = Arc::new(LoopbackBroker::start()?);
        let file = folder.path().join("example.db").display().to_string();
        let config = Config::builder()
            .set("database_url", file)
            .set("stomp_url", broker.url())
            .set("poll_interval", "20ms")
            .set("callback_first_delay", "10ms")
            .build()?;
        let world = Self {
            config,
            broker,
            _folder: folder,
        };
        let mut conn = world.connect()?;
        conn.migrate()?;
        conn.batch_execute(tables)?;
        Ok(world)
    }

    pub(crate) fn connect(&self) -> Fallible<SqliteConnection> {
        let url = self.config.require_database_url()?.expose();
        let mut conn = SqliteConnection::establish(url)?;
        // SQLite has one writer at a time: without a timeout the second one fails at once.
        conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 5000")?;
        Ok(conn)
    }

    /// Sends what is due, as `publish --once` does. Returns the number of sent messages.
    pub(crate) async fn publish(&self) -> Fallible<u64> {
        let relay = Relay::<SqliteConnection>::new(&self.config)?;
        Ok(relay.run_once(&Shutdown::new()).await?.sent)
    }

    /// Sends and handles messages until nothing is left to do. A subscription is a callback, a destination
    /// and a queue.
    pub(crate) async fn settle(
        &self,
        registry: &Registry<SqliteConnection>,
        subscriptions: &[(&str, &str, &str)],
    ) -> Fallible<Settled> {
        let mut config = self.config.clone();
        config.subscription = subscriptions
            .iter()
            .map(|(callback, destination, queue)| {
                SubscriptionConfig::new(callback, destination, Some(queue), &self.config)
            })
            .collect();
        let patience = Duration::from_secs(30);
        Ok(testing::settle(&self.broker, &config, registry, patience).await?)
    }

    /// Subscribes in the background, as `subscribe <callback> <destination> [queue]` does. Returns when
    /// the queue exists.
    pub(crate) async fn subscribe(
        &self,
        registry: &Registry<SqliteConnection>,
        callback: &str,
        destination: &str,
        queue: &str,
    ) -> Fallible<Running> {
        let subscriber =
            Subscriber::new(&self.config, registry, callback, destination, Some(queue))?;
        let shutdown = Shutdown::new();
        let signal = shutdown.clone();
        let task = tokio::spawn(async move { subscriber.run(&signal).await });
        let name = queue.to_owned();
        until(|| self.broker.view(|view| view.has_queue(&name))).await?;
        Ok(Running { shutdown, task })
    }

    /// Waits until the inbox has this number of messages.
    pub(crate) async fn received(&self, messages: i64) -> Fallible<()> {
        let mut conn = self.connect()?;
        until(|| admin::totals(&mut conn).is_ok_and(|totals| totals.received >= messages)).await
    }
}

impl Running {
    /// Lets the callback that runs end, and stops.
    pub(crate) async fn stop(self) -> Fallible<SubscriberStats> {
        self.shutdown.stop();
        Ok(self.task.await??)
    }
}

/// Waits until `done` returns true, for at most 30 s.
pub(crate) async fn until(mut done: impl FnMut() -> bool) -> Fallible<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        if Instant::now() >= deadline {
            return Err("it did not happen in half a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
