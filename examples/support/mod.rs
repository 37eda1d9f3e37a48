//! What the examples stand on: an SQLite file and a broker in this process. `DATABASE_URL` is not
//! read, so that nothing but this process is needed; `publish` and `subscribe` do the same work as
//! programs of their own.
#![allow(dead_code)] // each example uses its own part of it

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::Upkeep;
use diesel_outbox::config::{Config, SubscriptionConfig};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::{Handled, Subscriber};
use diesel_outbox::testing::{self, LoopbackBroker, Settled};
use diesel_outbox::{Registry, Shutdown};
use tokio::task::JoinHandle;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) broker: Arc<LoopbackBroker>,
    _folder: tempfile::TempDir,
}

/// A subscriber in the background.
pub(crate) struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<Handled, diesel_outbox::subscriber::SubscribeError>>,
}

impl World {
    /// With the outbox's tables, and what `tables` makes beside them.
    pub(crate) fn new(tables: &str) -> Outcome<Self> {
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

    pub(crate) fn connect(&self) -> Outcome<SqliteConnection> {
        let url = self.config.require_database_url()?.expose();
        let mut conn = SqliteConnection::establish(url)?;
        // Writers take turns; without this the second one fails at once.
        conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 5000")?;
        Ok(conn)
    }

    /// What `publish --once` does. Returns how many were sent.
    pub(crate) async fn publish(&self) -> Outcome<u64> {
        let relay = Relay::<SqliteConnection>::new(&self.config)?;
        Ok(relay.run_once(&Shutdown::new()).await?.sent)
    }

    /// Sends what is due and handles it by these subscriptions (callback, destination, queue), until
    /// nothing is left to be done.
    pub(crate) async fn settle(
        &self,
        registry: &Registry<SqliteConnection>,
        subscriptions: &[(&str, &str, &str)],
    ) -> Outcome<Settled> {
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

    /// What `subscribe <callback> <destination> [queue]` does, in the background. Returns when
    /// the queue is there.
    pub(crate) async fn subscribe(
        &self,
        registry: &Registry<SqliteConnection>,
        callback: &str,
        destination: &str,
        queue: &str,
    ) -> Outcome<Running> {
        let subscriber =
            Subscriber::new(&self.config, registry, callback, destination, Some(queue))?;
        let shutdown = Shutdown::new();
        let heeded = shutdown.clone();
        let task = tokio::spawn(async move { subscriber.run(&heeded).await });
        let name = queue.to_owned();
        until(|| self.broker.view(|view| view.has_queue(&name))).await?;
        Ok(Running { shutdown, task })
    }

    /// Waits until so many messages are in the inbox.
    pub(crate) async fn received(&self, messages: i64) -> Outcome<()> {
        let mut conn = self.connect()?;
        until(|| {
            conn.counts()
                .is_ok_and(|counts| counts.received >= messages)
        })
        .await
    }
}

impl Running {
    /// Lets the callback that runs end, and stops.
    pub(crate) async fn stop(self) -> Outcome<Handled> {
        self.shutdown.stop();
        Ok(self.task.await??)
    }
}

/// Looks again and again, for half a minute at most.
pub(crate) async fn until(mut done: impl FnMut() -> bool) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        if Instant::now() >= deadline {
            return Err("it did not happen in half a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
