//! Runs the program.

use std::process::Command;

pub(crate) use crate::support::Ran;
use crate::support::TestDatabase;

pub(crate) fn outbox(database: &TestDatabase, arguments: &[&str]) -> Ran {
    outbox_at(&database.url, arguments)
}

pub(crate) fn outbox_at(url: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    Ran::new(command.args(arguments).env("DATABASE_URL", url))
}
