//! `subscribe <callback> <destination> [queue]`: consumes a queue.

use std::process::ExitCode;

use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::EXIT_CODES;
use super::process_one;
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
    /// The callback's name; `log`, `store` and `exec:<program>` are always there. Without it and the
    /// rest: all that the file's tables [[subscription]] name
    #[arg(requires = "destination")]
    callback: Option<String>,
    /// Where the messages are sent, such as /topic/orders.v1
    destination: Option<String>,
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
/// As process 1, such as in a container, it runs the program again in a child and waits for all
/// processes that others leave behind: call it early in `main`, for what is before it is done twice.
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
    process_one::stand_in();
    let arguments = Arguments::parse();
    arguments.run(async |config, address| {
        address.for_backend::<C>()?;
        consume(&config, &registry, &arguments).await
    })
}

/// The program `subscribe` with the built-in callbacks only, on any database of this build.
#[must_use]
pub fn subscribe_builtin() -> ExitCode {
    process_one::stand_in();
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
    // All are checked before the first one connects.
    let subscribers: Vec<Subscriber<C>> = match (&arguments.callback, &arguments.destination) {
        (Some(callback), Some(destination)) => {
            let queue = arguments.queue.as_deref();
            let subscriber = Subscriber::new(config, registry, callback, destination, queue);
            vec![subscriber.map_err(failure)?]
        }
        _ if config.subscription.is_empty() => {
            return Err(Failure::usage(
                "say what to subscribe to: subscribe <callback> <destination> [queue], or tables \
                 [[subscription]] in the file of settings",
            ));
        }
        _ => Subscriber::all(config, registry).map_err(failure)?,
    };
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;
    tracing::info!(
        callback = arguments.callback,
        subscriptions = subscribers.len(),
        database = config.database_url.as_ref().map(|url| url.redacted()),
        broker = config.stomp_url.redacted(),
        "the subscriber starts"
    );
    let mut running: FuturesUnordered<_> = subscribers
        .into_iter()
        .map(|subscriber| subscriber.run(&shutdown))
        .collect();
    let mut outcome = Ok(());
    while let Some(ended) = running.next().await {
        if let Err(error) = ended {
            // The first one's reason counts; the others are not to go on alone.
            shutdown.stop();
            outcome = outcome.and(Err(failure(error)));
        }
    }
    outcome
}

fn failure(error: SubscribeError) -> Failure {
    match error {
        SubscribeError::Unfinished { .. } => Failure::Unfinished(error.to_string()),
        error if error.is_usage() => Failure::usage(error),
        error => Failure::runtime(error),
    }
}
