//! The settings: the order of the sources, the error for each mistake, and that no password is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documentation;
mod mistakes;
mod secrets;
mod sources;

use std::path::PathBuf;

use clap::{Args, Command};
use diesel_outbox::config::{Config, ConfigError, Flags};

/// All flags, parsed as a program with them does.
fn flags(words: &[&str]) -> Flags {
    parse::<Flags>(words).expect("the command line is good")
}

fn parse<A: Args>(words: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(Command::new("program").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    File {
        _directory: directory,
        path,
    }
}

fn from_file(text: &str) -> Result<Config, (PathBuf, ConfigError)> {
    let file = file(text);
    Config::builder()
        .file(&file.path)
        .build()
        .map_err(|error| (file.path.clone(), error))
}

fn from_env(name: &str, value: &str) -> Result<Config, ConfigError> {
    Config::builder().env_from([(name, value)]).build()
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("the configuration is bad").to_string()
}
