//! `publish`: sends the rows of the outbox to the broker.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use super::EXIT_CODES;
use super::run::{Failure, run};
use crate::backend::Backend;
use crate::config::{CleanupArgs, Config, ConnectionArgs, LogArgs, PublishArgs, RunArgs};
use crate::db::{Address, Db};
use crate::relay::{Relay, RelayError, Sent};
use crate::shutdown::Shutdown;

/// Sends the rows of the outbox to the broker, until it is stopped.
///
/// A row counts as sent when the broker's receipt for it has come. While the broker or the database
/// is away, rows wait. SIGTERM, SIGINT and SIGQUIT stop it gracefully: what is in flight is settled,
/// the rest is given back; a second signal ends it at once. Any number of these may run at once.
#[derive(Parser)]
#[command(name = "publish", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Send what is due now, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    publish: PublishArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    cleanup: CleanupArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// The program `publish`.
#[must_use]
pub fn publish() -> ExitCode {
    let arguments = Arguments::parse();
    let flags = (
        &arguments.connection,
        (
            &arguments.publish,
            (&arguments.run, (&arguments.cleanup, &arguments.log)),
        ),
    );
    run(
        &flags,
        async |config, address| on_its_connection!(address, C => relay::<C>(&config, arguments.once).await),
    )
}

async fn relay<C: Backend>(config: &Config, once: bool) -> Result<(), Failure> {
    let relay = Relay::<C>::new(config).map_err(failure)?;
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;
    tracing::info!(
        database = config.database_url.as_ref().map(|url| url.redacted()),
        broker = config.stomp_url.redacted(),
        once,
        "the relay starts"
    );
    if !once {
        return relay.run(&shutdown).await.map(drop).map_err(failure);
    }
    let began = Instant::now();
    let sent = relay.run_once(&shutdown).await.map_err(failure)?;
    summarize::<C>(config, sent, began.elapsed()).await
}

/// What was done, and what is left.
#[allow(clippy::print_stdout)] // what was asked for
async fn summarize<C: Backend>(config: &Config, sent: Sent, took: Duration) -> Result<(), Failure> {
    let address = Address::parse(config.require_database_url()?)?;
    let db = Db::<C>::new(config, &address, 1);
    let counts = db.run(C::counts).await?;
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = sent.sent as f64 / took.as_secs_f64().max(0.001);
    println!("sent      {} ({rate:.0}/s)", sent.sent);
    println!("failed    {}", sent.failed);
    println!("parked    {}", sent.parked);
    println!("waiting   {}", counts.waiting);
    if let Some(oldest) = counts.oldest_waiting {
        let age = (chrono::Utc::now() - oldest).to_std().unwrap_or_default();
        let age = Duration::from_secs(age.as_secs());
        println!("oldest    {}", humantime::format_duration(age));
    }
    Ok(())
}

fn failure(error: RelayError) -> Failure {
    match error {
        RelayError::Broker(_) | RelayError::Database(_) => Failure::runtime(error),
        _ => Failure::usage(error),
    }
}
