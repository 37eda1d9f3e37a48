//! A `publish` process, with a network of its own to the broker and to the database.

use std::process::{Command, Stdio};

use crate::WINDOW;
use crate::program::Program;
use crate::support::network::{Mode, Network};
use crate::world::{Subject, World};

pub(crate) struct Publisher {
    program: Program,
    pub(crate) broker: Network,
    /// None where the database is a file.
    pub(crate) database: Option<Network>,
    database_url: String,
    broker_url: String,
}

impl Publisher {
    pub(crate) fn start<C: Subject>(world: &World) -> Self {
        Self::start_in::<C>(world, Mode::Well)
    }

    /// With the network to the database in this mode.
    pub(crate) fn start_in<C: Subject>(world: &World, mode: Mode) -> Self {
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
        }
    }

    /// Kills it as the kernel would, and starts another one in its place.
    pub(crate) fn kill(&mut self) {
        let next = spawn(&self.database_url, &self.broker_url);
        std::mem::replace(&mut self.program, next).kill();
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

fn spawn(database: &str, broker: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_publish"));
    command
        .env("DATABASE_URL", database)
        .env("STOMP_URL", broker)
        .args(["--window", &WINDOW.to_string(), "--chunk-size", "100"])
        .args(["--lease", "4s", "--receipt-timeout", "2s"])
        .args(["--connect-timeout", "3s", "--database-timeout", "2s"])
        .args(["--maximum-backoff", "1s", "--poll-interval", "100ms"])
        .args(["--retry-first-delay", "100ms"])
        .args(["--retry-maximum-delay", "1s"])
        .args(["--retry-attempts", "1000", "--breaker-pause", "1s"])
        .stdin(Stdio::null());
    Program::spawn(&mut command)
}
