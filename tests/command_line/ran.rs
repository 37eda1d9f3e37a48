//! A run of a program.

use std::path::Path;
use std::process::Command;

pub(crate) use crate::support::Ran;

pub(crate) const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
pub(crate) const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
pub(crate) const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

/// A program without settings from the environment of the tests.
pub(crate) fn program(path: &str, arguments: &[&str], database: &str) -> Command {
    let mut command = Command::new(path);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OUTBOX_") || name.starts_with("STOMP_") || name.starts_with("PG") {
            command.env_remove(&*name);
        }
    }
    command.env("DATABASE_URL", database);
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    Ran::new(command)
}

/// The names of the files in a folder.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}
