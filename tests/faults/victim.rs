//! A process of ours, with a network of its own to the broker and to the database.

use crate::program::Program;
use crate::support::network::{Mode, Network};
use crate::world::{Subject, World};

/// Starts the process with the addresses of a database and a broker.
pub(crate) type Spawn = Box<dyn Fn(&str, &str) -> Program>;

pub(crate) struct Victim {
    program: Program,
    pub(crate) broker: Network,
    /// None where the database is a file.
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
            // The network reads what is said.
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

    /// Kills it as the kernel would, and starts another one in its place.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
        self.program = (self.spawn)(&self.database_url, &self.broker_url);
    }

    /// Starts another one where it has ended.
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

    /// Asks it to stop, which it does.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.program.ended();
        assert!(status.success(), "{status}");
    }
}
