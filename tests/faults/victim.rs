//! A process of this crate with its own network to the database, and to the broker if there is one.

use std::os::unix::process::ExitStatusExt;

use crate::program::Program;
use crate::support::network::{Mode, Network};
use crate::world::{Subject, World};

/// Numbers of signals, see signal(7).
const ABRT: i32 = 6;
const TERM: i32 = 15;

/// Starts the process with the addresses of a database and a broker; without a broker that one is empty.
pub(crate) type Spawn = Box<dyn Fn(&str, &str) -> Program>;

pub(crate) struct Victim {
    program: Program,
    /// `None` without a broker.
    pub(crate) broker: Option<Network>,
    /// `None` if the database is a file.
    pub(crate) database: Option<Network>,
    database_url: String,
    broker_url: String,
    spawn: Spawn,
}

impl Victim {
    /// With the network to the database in this mode.
    pub(crate) fn start<C: Subject>(world: &World, mode: Mode, spawn: Spawn) -> Self {
        let broker = world.has_broker().then(|| Network::to(world.broker()));
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
        let broker_url = broker
            .as_ref()
            .map(|broker| broker.address_for(world.broker()))
            .unwrap_or_default();
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

    /// Requests its shutdown, waits for it, and starts another one. It may have ended by itself before.
    pub(crate) fn replace(&mut self) {
        self.signal("TERM");
        let status = self.program.ended();
        // It was asked before it listened, or a call had ended it.
        let is_killed = matches!(status.signal(), Some(TERM | ABRT));
        assert!(status.success() || is_killed, "{status}");
        self.program = (self.spawn)(&self.database_url, &self.broker_url);
    }

    /// Requests its shutdown, and waits for it.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.program.ended();
        assert!(status.success(), "{status}");
    }
}
