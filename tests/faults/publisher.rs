//! A `publish` process.

use std::process::{Command, Stdio};

use crate::WINDOW;
use crate::clock::Clock;
use crate::program::Program;
use crate::support::network::Mode;
use crate::victim::Victim;
use crate::world::{Subject, World};

pub(crate) fn start<C: Subject>(world: &World) -> Victim {
    start_in::<C>(world, Mode::Well)
}

/// With the network to the database in this mode.
pub(crate) fn start_in<C: Subject>(world: &World, mode: Mode) -> Victim {
    let spawn = |database: &str, broker: &str| spawn(database, broker, Clock::RIGHT);
    Victim::start::<C>(world, mode, Box::new(spawn))
}

/// With this clock.
pub(crate) fn start_with<C: Subject>(world: &World, clock: Clock) -> Victim {
    let spawn = move |database: &str, broker: &str| spawn(database, broker, clock);
    Victim::start::<C>(world, Mode::Well, Box::new(spawn))
}

fn spawn(database: &str, broker: &str, clock: Clock) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_publish"));
    command
        .env("DATABASE_URL", database)
        .env("STOMP_URL", broker)
        .envs(clock.variables())
        .args(["--window", &WINDOW.to_string(), "--chunk-size", "100"])
        .args(["--lease", "4s", "--receipt-timeout", "2s"])
        .args(["--connect-timeout", "3s", "--database-timeout", "2s"])
        .args(["--maximum-backoff", "1s", "--poll-interval", "100ms"])
        .args(["--statement-timeout", "3s"])
        .args(["--retry-first-delay", "100ms"])
        .args(["--retry-maximum-delay", "1s"])
        .args(["--retry-attempts", "1000", "--breaker-pause", "1s"])
        .stdin(Stdio::null());
    Program::spawn(&mut command)
}
