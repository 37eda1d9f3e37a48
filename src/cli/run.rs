//! The common part of the programs: settings, log, runtime, exit code.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use super::logging;
use crate::config::{Config, ConfigError, FlagGroups, Flags};
use crate::current_schema::set_schema;
use crate::db::{Address, AddressError};
use crate::runtime::process_group;
use crate::runtime::shutdown::exit_code_at_once;
use crate::signing;
use crate::terminal;
use crate::traces;

/// Why a program ends with an exit code other than 0.
#[derive(Debug)]
pub(super) enum Failure {
    /// The settings or the arguments are wrong.
    Usage(String),
    /// Something failed while the program ran.
    Runtime(String),
    /// A stop was requested, and the program did not finish in time.
    Unfinished(String),
    /// `publish --once` finished, and rows were parked or failed, or are left.
    Incomplete(String),
}

impl Failure {
    pub(super) fn usage(error: impl Display) -> Self {
        Self::Usage(terminal::one_line(&error.to_string()))
    }

    pub(super) fn runtime(error: impl Display) -> Self {
        Self::Runtime(terminal::one_line(&error.to_string()))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        // Each problem is one line.
        Self::Usage(terminal::escaped_lines(&error.to_string()).into_owned())
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::db::DbError> for Failure {
    fn from(error: crate::db::DbError) -> Self {
        Self::runtime(error)
    }
}

/// Reads the settings, starts the log and runs `work`. Writes the error to standard error, and ends the
/// process.
pub(super) fn run<G: FlagGroups>(
    flags: &Flags<G>,
    work: impl AsyncFnOnce(Config, Address) -> Result<(), Failure>,
) -> ExitCode {
    run_with(
        Config::load(flags).map_err(Failure::from),
        async |config: Config| {
            let address = Address::parse(config.require_database_url()?)?;
            work(config, address).await
        },
    )
}

/// [`run`] for work that needs no database.
pub(super) fn run_without_database<G: FlagGroups>(
    flags: &Flags<G>,
    work: impl AsyncFnOnce(Config) -> Result<(), Failure>,
) -> ExitCode {
    run_with(
        Config::load_without_database(flags).map_err(Failure::from),
        work,
    )
}

/// [`run_without_database`] for settings that were read before.
pub(super) fn run_with(
    config: Result<Config, Failure>,
    work: impl AsyncFnOnce(Config) -> Result<(), Failure>,
) -> ExitCode {
    let outcome = config.and_then(|config| {
        logging::init(config.log_format, &config.log_level)?;
        if let Some(schema) = &config.database_schema {
            // Callbacks with their own connections use the same outbox.
            set_schema(Some(schema));
        }
        if let Some(keys) = config.keys_to_sign() {
            signing::set_keys(Some(keys));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Failure::runtime)?;
        let outcome = runtime.block_on(work(config));
        // Otherwise a callback that did not finish in time would keep the process running.
        runtime.shutdown_background();
        outcome
    });
    process_group::end_all();
    traces::flush();
    let code = match outcome {
        Ok(()) => 0,
        Err(Failure::Usage(text)) => {
            print_error(&text);
            2
        }
        Err(Failure::Runtime(text)) => {
            print_error(&text);
            1
        }
        Err(Failure::Unfinished(text)) => {
            print_error(&text);
            3
        }
        Err(Failure::Incomplete(text)) => {
            print_error(&text);
            4
        }
    };
    // Without exit handlers: threads may still be inside a database's client library (the pool connects
    // in the background, a callback continues), and OpenSSL's handlers free what they use. The result was
    // `double free or corruption`.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(exit_code_at_once().unwrap_or(code))
}

/// Writes why a program ends, even if the log is off. If standard error cannot be written, the exit code still shows it.
fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// Parses the arguments of a program; ends it with exit code 2 if they are wrong.
pub(super) fn arguments<A: Parser>() -> A {
    arguments_of(A::command())
}

/// [`arguments`] with a changed command of the parser.
pub(super) fn arguments_of<A: Parser>(command: clap::Command) -> A {
    let matches = command.clone().try_get_matches();
    let read = matches.and_then(|matches| A::from_arg_matches(&matches));
    read.unwrap_or_else(|error| refuse(&error.format(&mut command.clone())))
}

/// Reports wrong arguments. clap quotes an argument that it does not know, and one in the wrong place may
/// be an address with its password.
fn refuse(error: &clap::Error) -> ! {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| may_hold_a_password(word))
        .collect();
    if words.is_empty() || !error.use_stderr() {
        error.exit();
    }
    let mut text = error.render().to_string();
    for word in &words {
        text = text.replace(word, "***");
        if let Some((_, value)) = word.split_once('=') {
            text = text.replace(value, "***");
        }
    }
    let _ = write!(std::io::stderr(), "{text}");
    std::process::exit(error.exit_code());
}

fn may_hold_a_password(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower.contains("://") || lower.contains("password") || lower.contains('@')
}
