//! What the programs have in common: settings, log lines, a runtime, an exit code.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{Config, ConfigError, Flags};
use crate::current_schema::set_schema;
use crate::db::{Address, AddressError};
use crate::logging;
use crate::process_group;
use crate::shutdown::exit_code_at_once;

/// Why a program ends with another code than 0.
#[derive(Debug)]
pub(super) enum Failure {
    /// The settings or the arguments are wrong.
    Usage(String),
    /// Something failed while the program ran.
    Runtime(String),
    /// It was asked to stop, and did not finish in time.
    Unfinished(String),
}

impl Failure {
    pub(super) fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    pub(super) fn runtime(error: impl Display) -> Self {
        Self::Runtime(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
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

/// Reads the settings, starts the log, runs `work`, says on standard error why it failed, and ends
/// the process.
pub(super) fn run(
    flags: &dyn Flags,
    work: impl AsyncFnOnce(Config, Address) -> Result<(), Failure>,
) -> ExitCode {
    run_with(Config::load(flags), async |config: Config| {
        let address = Address::parse(config.require_database_url()?)?;
        work(config, address).await
    })
}

/// As [`run`], for work that needs no database.
pub(super) fn run_without_database(
    flags: &dyn Flags,
    work: impl AsyncFnOnce(Config) -> Result<(), Failure>,
) -> ExitCode {
    run_with(Config::load_without_database(flags), work)
}

fn run_with(
    config: Result<Config, ConfigError>,
    work: impl AsyncFnOnce(Config) -> Result<(), Failure>,
) -> ExitCode {
    let outcome = config.map_err(Failure::from).and_then(|config| {
        logging::init(config.log_format, &config.log_level)?;
        if let Some(schema) = &config.database_schema {
            // Callbacks with connections of their own mean the same outbox.
            set_schema(Some(schema));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Failure::runtime)?;
        let outcome = runtime.block_on(work(config));
        // A callback that did not finish in time would keep the process from ending.
        runtime.shutdown_background();
        outcome
    });
    process_group::end_all();
    let code = match outcome {
        Ok(()) => 0,
        Err(Failure::Usage(text)) => {
            complain(&text);
            2
        }
        Err(Failure::Runtime(text)) => {
            complain(&text);
            1
        }
        Err(Failure::Unfinished(text)) => {
            complain(&text);
            3
        }
    };
    // At once: threads may still be inside a database's client library (the pool connects in the
    // background, a callback works on), and the exit handlers of OpenSSL would take away what they
    // use, which ended in `double free or corruption`.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(exit_code_at_once().unwrap_or(code))
}

#[allow(clippy::print_stderr)] // a program's last word, also where log lines are switched off
fn complain(text: &str) {
    eprintln!("error: {text}");
}
