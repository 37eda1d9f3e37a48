//! The environment of the programs.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::migrations::Migrate;

use super::counts::Counts;
use super::support::{self, TestDatabase};
use outbox_test_support::program::Place;

/// A database and a broker for one test; `None` if a server is not used.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) broker: String,
    /// A name that no other test uses.
    pub(crate) name: String,
}

impl World {
    /// With the outbox's tables.
    pub(crate) fn new() -> Option<Self> {
        let world = Self::bare()?;
        world.connect().migrate().unwrap();
        Some(world)
    }

    /// Without any table.
    pub(crate) fn bare() -> Option<Self> {
        let broker = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let database = support::postgres::<PgConnection>()?;
        Some(Self {
            database,
            broker,
            name: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
        })
    }

    pub(crate) fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.database.url).unwrap()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(&mut self.connect())
    }

    pub(crate) fn topic(&self) -> String {
        format!("/topic/{}", self.name)
    }

    /// Deletes what was received.
    pub(crate) fn forget(&self) {
        self.connect()
            .batch_execute("delete from received")
            .unwrap();
    }

    /// Writes this number of rows at once.
    pub(crate) fn write(&self, rows: usize) {
        let statement = format!(
            "insert into published (id, destination, body)
             select gen_random_uuid(), '{}', jsonb_build_object('n', n)
             from generate_series(1, {rows}) n",
            self.topic()
        );
        self.connect().batch_execute(&statement).unwrap();
    }
}

impl Place for World {
    fn database_url(&self) -> &str {
        &self.database.url
    }

    fn broker_url(&self) -> &str {
        &self.broker
    }
}
