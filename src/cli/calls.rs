//! `calls`: executes the function calls of an outbox.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use super::EXIT_CODES;
use super::health::{self, Part};
use super::metrics_server::MetricsServer;
use super::once;
use super::output::Output;
use super::process_one;
use super::run::{Failure, arguments, run};
use super::service_manager::ServiceManager;
use crate::admin::Rows;
use crate::backend::{Backend, CALLS};
use crate::calls::{Calls, Executor, ExecutorError, ExecutorMonitor, ExecutorStats};
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::db::{Address, Db};
use crate::runtime::shutdown::Shutdown;

/// Executes function calls from the outbox until it is stopped.
///
/// A call is written in a transaction, and executed after its commit. A call that fails is executed again; when
/// all its attempts are used, it is parked. Calls with names that this program does not know wait for another one.
/// SIGTERM, SIGINT and SIGQUIT stop the program gracefully: running calls may finish, and the leases of the
/// others are released. A second signal ends it at once. Any number of these programs can run at the same time.
#[derive(Parser)]
#[command(name = "calls", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Execute the calls that are due now, and end. The exit code is 4 if calls were parked or are left
    #[arg(long)]
    once: bool,
    /// Short for --call-workers
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    workers: Option<u16>,
    #[command(flatten)]
    settings: Flags<Groups>,
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[
        Group::Connection,
        Group::Claim,
        Group::Execute,
        Group::Signing,
        Group::Run,
        Group::Cleanup,
        Group::Log,
    ];
}

/// The program `calls` with the functions of a service: an executor with arguments, a log and exit codes.
///
/// As process 1, as in a container, it starts the program again in a child process and reaps orphaned
/// processes. Call it early in `main`: everything before it runs twice.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel_outbox::calls::{Call, Calls, Execute, Function};
/// use serde::{Deserialize, Serialize};
/// use std::process::ExitCode;
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const NAME: &'static str = "shop.greet";
/// }
///
/// impl<C> Execute<C> for Greet {
///     const FUNCTION: Function<Self, C> = Function::Blocking(|call, _| {
///         println!("Hello, {}", call.name);
///         Ok(())
///     });
/// }
///
/// fn main() -> ExitCode {
///     diesel_outbox::cli::calls(Calls::<SqliteConnection>::new().add::<Greet>())
/// }
/// # }
/// ```
#[must_use]
pub fn calls<C: Backend>(registry: Calls<C>) -> ExitCode {
    calls_with(registry, |executor| executor)
}

/// [`calls`] with an executor that `configure` changes before it starts, such as by hooks.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel_outbox::calls::Calls;
/// use std::process::ExitCode;
///
/// fn program(calls: Calls<SqliteConnection>) -> ExitCode {
///     diesel_outbox::cli::calls_with(calls, |executor| {
///         executor.on_parked(|call| eprintln!("{} is parked: {:?}", call.name, call.error))
///     })
/// }
/// # }
/// ```
#[must_use]
pub fn calls_with<C: Backend>(
    registry: Calls<C>,
    configure: impl FnOnce(Executor<C>) -> Executor<C>,
) -> ExitCode {
    process_one::run_as_process_1();
    let arguments = arguments::<Arguments>();
    run(&arguments.settings, async |mut config, address| {
        let address = address.for_backend::<C>()?;
        if let Some(workers) = arguments.workers {
            config.call_workers = Some(usize::from(workers));
        }
        execute(&config, &address, registry, configure, arguments.once).await
    })
}

async fn execute<C: Backend>(
    config: &Config,
    address: &Address,
    registry: Calls<C>,
    configure: impl FnOnce(Executor<C>) -> Executor<C>,
    once: bool,
) -> Result<(), Failure> {
    let server = MetricsServer::start(config).await?;
    let names: Vec<String> = registry.names().map(|(name, _)| name.to_owned()).collect();
    let executor = configure(Executor::new(config, registry).map_err(failure)?);
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;
    tracing::info!(
        database = config.database_url.as_ref().map(|url| url.redacted()),
        functions = names.len(),
        once,
        "starting the executor"
    );
    let monitor = executor.monitor();
    let manager = ServiceManager::from_env().filter(|_| !once);
    health::show::<C>(
        config,
        address,
        vec![Part::Executor(monitor.clone())],
        server,
        &[Rows::Calls],
        manager.map(|manager| (manager, &shutdown)),
    )?;
    if !once {
        executor.run(&shutdown).await.map_err(failure)?;
        return is_finished(&monitor);
    }
    let began = Instant::now();
    let db = Db::<C>::new(config, address, 1);
    db.check_tables().await?;
    let last = db.run(|conn| conn.last_waiting(CALLS)).await?;
    let stats = executor.run_once(&shutdown).await.map_err(failure)?;
    let (waiting, _) = db.run(|conn| conn.waiting(CALLS)).await?;
    summarize(stats, began.elapsed(), waiting)?;
    if shutdown.is_stopping() {
        return is_finished(&monitor);
    }
    let streams = config.stream.clone();
    let left = db.run(move |conn| match last {
        Some(last) => conn.left(CALLS, &streams, &names, last),
        None => Ok(0),
    });
    is_complete(stats, left.await?)
}

/// Fails if calls still ran when the executor stopped.
fn is_finished(monitor: &ExecutorMonitor) -> Result<(), Failure> {
    match monitor.status().unfinished {
        0 => Ok(()),
        calls => Err(Failure::Unfinished(format!(
            "{calls} calls did not finish in time; they are executed again when their leases have ended"
        ))),
    }
}

/// Fails if calls are left that could have been executed. Calls that are not due, of another stream, of a paused
/// stream or with an unknown name are left on purpose.
fn is_complete(stats: ExecutorStats, left: i64) -> Result<(), Failure> {
    let parts = [
        (
            stats.parked,
            "parked (`outbox retry --calls` executes them again)",
        ),
        (stats.failed, "failed and left for another attempt"),
        (
            left.unsigned_abs(),
            "due and left: blocked by an earlier call of their key, or locked",
        ),
    ];
    once::is_complete("not all calls were executed", parts)
}

fn summarize(stats: ExecutorStats, took: Duration, waiting: i64) -> Result<(), Failure> {
    let mut out = Output::new(false);
    let rate = once::rate(stats.executed, took);
    out.row("executed", format_args!("{} ({rate:.0}/s)", stats.executed));
    out.row("failed", stats.failed);
    out.row("parked", stats.parked);
    out.row("waiting", waiting);
    out.finish()
}

fn failure(error: ExecutorError) -> Failure {
    if error.is_usage() {
        Failure::usage(error)
    } else {
        Failure::runtime(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_verifies_signatures_takes_the_keys() {
        let words = "calls --verify-signatures require --signing-keys-file keys --sign";
        let parsed = Arguments::try_parse_from(words.split(' '));
        assert!(parsed.is_ok(), "{:?}", parsed.err());
    }
}
