//! The programs as processes of their own, killed and cut off, on PostgreSQL and RabbitMQ.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod kill;
mod listener;
mod mistakes;
mod poison;
mod program;
mod proxy;
mod signals;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::{Counts, Upkeep};
use diesel_outbox::migrations::Migrate;

use support::TestDatabase;

/// A database and a broker of the test's own; `None` where a server is left out.
struct World {
    database: TestDatabase,
    broker: String,
    /// A name that no other test has.
    name: String,
}

impl World {
    fn new() -> Option<Self> {
        let broker = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let database = support::postgres()?;
        let world = Self {
            database,
            broker,
            name: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
        };
        world.connect().migrate().unwrap();
        Some(world)
    }

    fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.database.url).unwrap()
    }

    fn counts(&self) -> Counts {
        self.connect().counts().unwrap()
    }

    fn topic(&self) -> String {
        format!("/topic/{}", self.name)
    }

    /// Writes so many rows at once.
    fn write(&self, rows: usize) {
        let statement = format!(
            "insert into published (id, destination, body)
             select gen_random_uuid(), '{}', jsonb_build_object('n', n)
             from generate_series(1, {rows}) n",
            self.topic()
        );
        self.connect().batch_execute(&statement).unwrap();
    }
}
