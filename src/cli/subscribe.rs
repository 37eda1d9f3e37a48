//! `subscribe <callback> <destination> [queue]`: consumes a queue.

use std::process::ExitCode;

use clap::Parser;

use super::EXIT_CODES;
use super::run::{Failure, run};
use crate::backend::Backend;
use crate::config::{CleanupArgs, Config, ConnectionArgs, LogArgs, RunArgs, SubscribeArgs};
use crate::db::Address;
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::subscriber::{SubscribeError, Subscriber};

/// Consumes a queue and calls a callback once for each message, until it is stopped.
///
/// Each message is remembered in the table `received`; one that comes again has no second effect. A
/// callback that fails is called again; a message that is given up goes to the queue DLQ.<queue>.
/// SIGTERM, SIGINT and SIGQUIT stop it gracefully: the callback that runs may finish; a second
/// signal ends it at once.
#[derive(Parser)]
#[command(name = "subscribe", version, after_help = EXIT_CODES)]
struct Arguments {
    /// The callback's name; `log`, `store` and `exec:<program>` are always there
    callback: String,
    /// Where the messages are sent, such as /topic/orders.v1
    destination: String,
    /// The queue that collects them [default: the last segment of the destination]
    queue: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    subscribe: SubscribeArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    cleanup: CleanupArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Arguments {
    fn run(&self, work: impl AsyncFnOnce(Config, Address) -> Result<(), Failure>) -> ExitCode {
        let flags = (
            &self.connection,
            (&self.subscribe, (&self.run, (&self.cleanup, &self.log))),
        );
        run(&flags, work)
    }
}

/// The program `subscribe` with the callbacks of a service.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel_outbox::{self as outbox, BoxError, Outcome, Payload, Registry};
/// use std::process::ExitCode;
///
/// fn created(_: &mut SqliteConnection, _: &Payload) -> Result<Outcome, BoxError> {
///     Ok(Outcome::Done)
/// }
///
/// fn main() -> ExitCode {
///     outbox::cli::subscribe(Registry::<SqliteConnection>::new().on("orders.created", created))
/// }
/// # }
/// ```
#[must_use]
pub fn subscribe<C: Backend>(registry: Registry<C>) -> ExitCode {
    let arguments = Arguments::parse();
    arguments.run(async |config, address| {
        address.for_backend::<C>()?;
        consume(&config, &registry, &arguments).await
    })
}

/// The program `subscribe` with the built-in callbacks only, on any database of this build.
#[must_use]
pub fn subscribe_builtin() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.run(async |config, address| {
        on_its_connection!(
            address,
            C => consume(&config, &Registry::<C>::new(), &arguments).await
        )
    })
}

async fn consume<C: Backend>(
    config: &Config,
    registry: &Registry<C>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let subscriber = Subscriber::new(
        config,
        registry,
        &arguments.callback,
        &arguments.destination,
        arguments.queue.as_deref(),
    )
    .map_err(failure)?;
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;
    tracing::info!(
        callback = arguments.callback,
        database = config.database_url.as_ref().map(|url| url.redacted()),
        broker = config.stomp_url.redacted(),
        "the subscriber starts"
    );
    subscriber.run(&shutdown).await.map(drop).map_err(failure)
}

fn failure(error: SubscribeError) -> Failure {
    match error {
        SubscribeError::Unfinished { .. } => Failure::Unfinished(error.to_string()),
        error if error.is_usage() => Failure::usage(error),
        error => Failure::runtime(error),
    }
}
