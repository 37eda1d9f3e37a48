//! Where the programs run.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::{Counts, Upkeep};
use diesel_outbox::migrations::Migrate;

use super::support::{self, TestDatabase};

/// A database and a broker of the test's own; `None` where a server is left out.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) broker: String,
    /// A name that no other test has.
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
        let database = support::postgres()?;
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
        self.connect().counts().unwrap()
    }

    pub(crate) fn topic(&self) -> String {
        format!("/topic/{}", self.name)
    }

    /// Forgets what was received.
    pub(crate) fn forget(&self) {
        self.connect()
            .batch_execute("delete from received")
            .unwrap();
    }

    /// Writes so many rows at once.
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
