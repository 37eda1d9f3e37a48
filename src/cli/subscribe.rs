//! `subscribe <callback> <destination> [queue]`: consumes a queue.

use std::process::ExitCode;

use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::EXIT_CODES;
use super::health::{self, Part};
use super::metrics_server::MetricsServer;
use super::process_one;
use super::run::{Failure, arguments, run};
use super::service_manager::ServiceManager;
use crate::backend::Backend;
use crate::callback::Registry;
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::db::Address;
use crate::runtime::shutdown::Shutdown;
use crate::subscriber::{SubscribeError, Subscriber};

/// Consumes a queue and calls a callback for each message until it is stopped.
///
/// Each message is recorded in the table `received`; a duplicate has no second effect. A callback that
/// fails is called again; when all its attempts are used, the message goes to the queue DLQ.<queue>, with
/// headers that contain the reason.
/// SIGTERM, SIGINT and SIGQUIT stop the program gracefully: running callbacks may finish. A second
/// signal ends it at once.
#[derive(Parser)]
#[command(name = "subscribe", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Name of the callback; log, store and exec:<program> are built in. Without arguments: all
    /// tables [[subscription]] of the configuration file
    #[arg(requires = "destination")]
    callback: Option<String>,
    /// Destination of the messages, such as /topic/orders.v1
    destination: Option<String>,
    /// Queue that collects the messages [default: the last segment of the destination]. Leave it out if the
    /// destination is itself a queue, such as /queue/mail
    queue: Option<String>,
    #[command(flatten)]
    settings: Flags<Groups>,
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[
        Group::Connection,
        Group::Subscribe,
        Group::Signing,
        Group::Run,
        Group::Cleanup,
        Group::Log,
    ];
}

/// The program `subscribe` with the callbacks of a service.
///
/// As process 1, as in a container, it starts the program again in a child process and reaps orphaned
/// processes. Call it early in `main`: everything before it runs twice.
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
    process_one::run_as_process_1();
    let arguments = arguments::<Arguments>();
    run(&arguments.settings, async |config, address| {
        let address = address.for_backend::<C>()?;
        consume(&config, &address, &registry, &arguments).await
    })
}

/// The program `subscribe` with the built-in callbacks only, on any database of this build.
#[must_use]
pub fn subscribe_builtin() -> ExitCode {
    process_one::run_as_process_1();
    let arguments = arguments::<Arguments>();
    run(&arguments.settings, async |config, address| {
        on_its_connection!(
            &address,
            C => consume(&config, &address, &Registry::<C>::new(), &arguments).await
        )
    })
}

async fn consume<C: Backend>(
    config: &Config,
    address: &Address,
    registry: &Registry<C>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let server = MetricsServer::start(config).await?;
    // All of them are checked before the first one connects.
    let subscribers: Vec<Subscriber<C>> = match (&arguments.callback, &arguments.destination) {
        (Some(callback), Some(destination)) => {
            let queue = arguments.queue.as_deref();
            let subscriber = Subscriber::new(config, registry, callback, destination, queue);
            vec![subscriber.map_err(failure)?]
        }
        _ if config.subscription.is_empty() => {
            return Err(Failure::usage(
                "no subscription: run `subscribe <callback> <destination> [queue]`, or add tables \
                 [[subscription]] to the configuration file",
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
        "starting the subscriber"
    );
    let parts = subscribers.iter();
    let parts = parts.map(|it| Part::Subscriber(it.queue().to_owned(), it.monitor()));
    let manager = ServiceManager::from_env();
    health::show::<C>(
        config,
        address,
        parts.collect(),
        server,
        &[],
        manager.map(|manager| (manager, &shutdown)),
    )?;
    let mut running: FuturesUnordered<_> = subscribers
        .into_iter()
        .map(|subscriber| subscriber.run(&shutdown))
        .collect();
    let mut outcome = Ok(());
    while let Some(ended) = running.next().await {
        if let Err(error) = ended {
            // The first error counts. The others stop too.
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
