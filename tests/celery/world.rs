//! A database, RabbitMQ, and a queue that no other case uses.

use std::thread::JoinHandle;

use diesel_outbox::admin::dead_letters::{DeadLetters, Selection};
use diesel_outbox::backend::Backend;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::{Relay, RelayStats};
use diesel_outbox::subscriber::{Subscriber, SubscriberStats};
use diesel_outbox::{Registry, Shutdown};
use tokio::runtime::Runtime;

use crate::support::amqp::Publisher;
use crate::support::program::wait_until;
use crate::support::{self, TestDatabase};

pub(crate) struct World {
    database: TestDatabase,
    pub(crate) broker: String,
    /// A Python with Celery.
    pub(crate) python: String,
    /// The name of the queue.
    pub(crate) queue: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl World {
    /// `None` if a server or Celery is left out.
    pub(crate) fn new<C: Backend + Migrate>(database: Option<TestDatabase>) -> Option<Self> {
        let world = Self {
            python: support::server("OUTBOX_TEST_CELERY", "Celery")?,
            broker: support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?,
            database: database?,
            queue: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
            folder: tempfile::tempdir().unwrap(),
            runtime: Runtime::new().unwrap(),
        };
        world.connect::<C>().migrate().unwrap();
        Some(world)
    }

    pub(crate) fn on_sqlite() -> Option<Self> {
        Self::new::<diesel::SqliteConnection>(Some(support::sqlite::<diesel::SqliteConnection>()))
    }

    pub(crate) fn connect<C: Backend>(&self) -> C {
        let mut conn = C::establish(&self.database.url).unwrap();
        if C::NAME == "SQLite" {
            conn.batch_execute("pragma busy_timeout = 20000").unwrap();
        }
        conn
    }

    pub(crate) fn settings(&self) -> diesel_outbox::config::Builder {
        Config::builder()
            .set("database_url", self.database.url.as_str())
            .set("stomp_url", self.broker.as_str())
            .set("callback_first_delay", "1ms")
            .set("callback_attempts", 2)
            .set("maximum_backoff", "1s")
            // The broker is to forget the queues of the tests.
            .set("dead_letter_headers", "x-expires:600000")
    }

    /// Sends all rows that are due.
    pub(crate) fn relay<C: Backend>(&self) -> RelayStats {
        let relay = Relay::<C>::new(&self.settings().build().unwrap()).unwrap();
        let shutdown = Shutdown::new();
        self.runtime.block_on(relay.run_once(&shutdown)).unwrap()
    }

    /// Runs the tasks of the registry in the background.
    pub(crate) fn subscribe<C: Backend>(&self, registry: &Registry<C>, config: &Config) -> Running {
        let destination = format!("/amq/queue/{}", self.queue);
        let subscriber = Subscriber::new(config, registry, "celery", &destination, None).unwrap();
        let shutdown = Shutdown::new();
        let heeded = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(subscriber.run(&heeded)).unwrap()
        });
        Running { shutdown, thread }
    }

    /// The reason of each dead letter by its task's id, once there are this number.
    pub(crate) fn dead_letters(&self, expected: usize) -> Vec<(String, String)> {
        let config = self.settings().build().unwrap();
        let mut letters = DeadLetters::of(&config, &self.queue).unwrap();
        let mut found = Vec::new();
        wait_until("the dead letters", || {
            let all = self.runtime.block_on(letters.list(&Selection::all()));
            found = all.unwrap_or_default();
            found.len() >= expected
        });
        let told = |letter: &diesel_outbox::admin::dead_letters::DeadLetter| {
            let id = letter.header("id").unwrap_or_default().to_owned();
            (id, letter.error().into_owned())
        };
        assert_eq!(found.len(), expected);
        found.iter().map(told).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Celery and a SEND declare it without an expiry.
        let mut publisher = Publisher::connect(&self.broker);
        publisher.delete(&self.queue);
        publisher.close();
    }
}

/// A subscriber in the background.
pub(crate) struct Running {
    shutdown: Shutdown,
    thread: JoinHandle<SubscriberStats>,
}

impl Running {
    pub(crate) fn stop(self) -> SubscriberStats {
        self.shutdown.stop();
        self.thread.join().unwrap()
    }
}
