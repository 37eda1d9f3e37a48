//! A process of this crate with its own network to the broker and to the database.

use crate::program::Program;
use crate::support::network::{Mode, Network};
use crate::world::{Subject, World};

/// Starts the process with the addresses of a database and a broker.
pub(crate) type Spawn = Box<dyn Fn(&str, &str) -> Program>;

pub(crate) struct Victim {
    program: Program,
    pub(crate) broker: Network,
    /// `None` if the database is a file.
    pub(crate) database: Option<Network>,
    database_url: String,
    broker_url: String,
    spawn: Spawn,
}

impl Victim {
    /// With the network to the database in this mode.
    pub(crate) fn start<C: Subject>(world: &World, mode: Mode, spawn: Spawn) -> Self {
        let broker = Network::to(&world.broker);
        let database = (C::NAME != "SQLite").then(|| Network::to(&world.database.url));
        if let Some(database) = &database {
            database.set(mode);
        }
        let mut database_url = match &database {
            Some(database) => database.address_for(&world.database.url),
            None => world.database.url.clone(),
        };
        if C::NAME == "PostgreSQL" {
            // The network inspects what is sent.
            database_url += "?sslmode=disable";
        }
        let broker_url = broker.address_for(&world.broker);
        Self {
            program: spawn(&database_url, &broker_url),
            broker,
            database,
            database_url,
            broker_url,
            spawn,
        }
    }

    /// Kills it as the kernel would, and starts another one.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
        self.program = (self.spawn)(&self.database_url, &self.broker_url);
    }

    /// Starts another one if it has ended.
    pub(crate) fn revive(&mut self) {
        if self.program.has_ended() {
            self.kill();
        }
    }

    pub(crate) fn wait_for_line(&mut self, text: &str) {
        self.program.wait_for_line(text);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// Requests its shutdown, and waits for it.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.program.ended();
        assert!(status.success(), "{status}");
    }
}
