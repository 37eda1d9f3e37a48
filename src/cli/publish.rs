//! `publish`: sends the rows of the outbox to the broker.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Parser;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::EXIT_CODES;
use super::run::{Failure, run};
use crate::backend::Backend;
use crate::config::{CleanupArgs, Config, ConnectionArgs, LogArgs, PublishArgs, RunArgs};
use crate::db::{Address, Db};
use crate::logging::BARS;
use crate::relay::{Progress, Relay, RelayError, Sent};
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
    let db = Db::<C>::new(config, &Address::parse(config.require_database_url()?)?, 1);
    // Where it is away, the relay says so.
    let waiting = db.run(C::waiting).await.map_or(0, |(rows, _)| rows);
    let shown = tokio::spawn(show(relay.progress(), waiting));
    let outcome = relay.run_once(&shutdown).await;
    shown.abort();
    // Its bar is gone when it is.
    let _ = shown.await;
    let sent = outcome.map_err(failure)?;
    let (waiting, oldest) = db.run(C::waiting).await?;
    summarize(sent, began.elapsed(), waiting, oldest);
    Ok(())
}

/// How often a bar moves, and how often a line is written where there is none.
const MOVES: Duration = Duration::from_millis(100);
const LINES: Duration = Duration::from_secs(10);

/// Shows how far the relay is: a bar on a terminal, else a line now and then.
async fn show(progress: Progress, waiting: i64) {
    let all = u64::try_from(waiting).unwrap_or(0);
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left{msg}");
    let bar = BARS.add(ProgressBar::new(all).with_finish(ProgressFinish::AndClear));
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let every = if bar.is_hidden() { LINES } else { MOVES };
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Sent { sent, parked, .. } = progress.so_far();
        bar.set_position(sent + parked);
        if parked > 0 {
            bar.set_message(format!(", {parked} parked"));
        }
        if bar.is_hidden() {
            tracing::info!(sent, parked, all, "on the way");
        }
    }
}

/// What was done, and what is left.
#[allow(clippy::print_stdout)] // what was asked for
fn summarize(sent: Sent, took: Duration, waiting: i64, oldest: Option<DateTime<Utc>>) {
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = sent.sent as f64 / took.as_secs_f64().max(0.001);
    println!("sent      {} ({rate:.0}/s)", sent.sent);
    println!("failed    {}", sent.failed);
    println!("parked    {}", sent.parked);
    println!("waiting   {waiting}");
    if let Some(oldest) = oldest {
        let age = (Utc::now() - oldest).to_std().unwrap_or_default();
        let age = Duration::from_secs(age.as_secs());
        println!("oldest    {}", humantime::format_duration(age));
    }
}

fn failure(error: RelayError) -> Failure {
    match error {
        RelayError::Broker(stomp) if stomp.is_misconfigured() => Failure::usage(stomp),
        RelayError::Broker(_) | RelayError::Database(_) => Failure::runtime(error),
        _ => Failure::usage(error),
    }
}
