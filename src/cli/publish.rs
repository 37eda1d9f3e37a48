//! `publish`: sends the rows of the outbox to the broker.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Parser;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::EXIT_CODES;
use super::health::{self, Part};
use super::logging::BARS;
use super::metrics_server::MetricsServer;
use super::once;
use super::output::Output;
use super::run::{Failure, arguments, run};
use super::service_manager::ServiceManager;
use crate::admin::Rows;
use crate::backend::{Backend, PUBLISHED};
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::db::{Address, Db};
use crate::relay::{Relay, RelayError, RelayMonitor, RelayStats};
use crate::runtime::shutdown::Shutdown;

/// Sends the rows of the outbox to the broker until it is stopped.
///
/// A row is sent when the broker's receipt for it has arrived. While the broker or the database
/// is not available, rows wait. SIGTERM, SIGINT and SIGQUIT stop the program gracefully: rows in flight are
/// settled, and the leases of the others are released. A second signal ends it at once. Any number of these
/// programs can run at the same time.
#[derive(Parser)]
#[command(name = "publish", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Send the rows that are due now, and end. The exit code is 4 if rows were parked or are left
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    settings: Flags<Groups>,
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[
        Group::Connection,
        Group::Claim,
        Group::Publish,
        Group::Signing,
        Group::Run,
        Group::Cleanup,
        Group::Log,
    ];
}

/// The program `publish`.
#[must_use]
pub fn publish() -> ExitCode {
    let arguments = arguments::<Arguments>();
    run(
        &arguments.settings,
        async |config, address| on_its_connection!(&address, C => relay::<C>(&config, &address, arguments.once).await),
    )
}

async fn relay<C: Backend>(config: &Config, address: &Address, once: bool) -> Result<(), Failure> {
    let server = MetricsServer::start(config).await?;
    let relay = Relay::<C>::new(config).map_err(failure)?;
    let shutdown = Shutdown::on_signals().map_err(Failure::runtime)?;
    tracing::info!(
        database = config.database_url.as_ref().map(|url| url.redacted()),
        broker = config.stomp_url.redacted(),
        once,
        "starting the relay"
    );
    let manager = ServiceManager::from_env().filter(|_| !once);
    health::show::<C>(
        config,
        address,
        vec![Part::Relay(relay.monitor())],
        server,
        &[Rows::Messages],
        manager.map(|manager| (manager, &shutdown)),
    )?;
    if !once {
        return relay.run(&shutdown).await.map(drop).map_err(failure);
    }
    let began = Instant::now();
    let db = Db::<C>::new(config, address, 1);
    db.check_tables().await?;
    let (waiting, _) = db.run(|conn| conn.waiting(PUBLISHED)).await?;
    let last = db.run(|conn| conn.last_waiting(PUBLISHED)).await?;
    let shown = tokio::spawn(show(relay.monitor(), waiting));
    let outcome = relay.run_once(&shutdown).await;
    shown.abort();
    // Its end removes the progress bar.
    let _ = shown.await;
    let sent = outcome.map_err(failure)?;
    let (waiting, oldest) = db.run(|conn| conn.waiting(PUBLISHED)).await?;
    summarize(sent, began.elapsed(), waiting, oldest)?;
    if shutdown.is_stopping() {
        return Ok(());
    }
    let (streams, destinations) = (config.stream.clone(), config.destination.clone());
    let left = db.run(move |conn| match last {
        Some(last) => conn.left(PUBLISHED, &streams, &destinations, last),
        None => Ok(0),
    });
    is_complete(sent, left.await?)
}

/// Fails if rows are left that could have been sent. Rows that are not due, of another stream or destination,
/// or of a paused stream are left on purpose.
fn is_complete(sent: RelayStats, left: i64) -> Result<(), Failure> {
    let parts = [
        (sent.parked, "parked (`outbox retry` sends them again)"),
        (sent.failed, "failed and left for another attempt"),
        (
            left.unsigned_abs(),
            "due and left: blocked by an earlier row of their key, locked, or of a destination with an open circuit",
        ),
    ];
    once::is_complete("not all rows were sent", parts)
}

/// Interval of the progress bar, and of log lines if there is no bar.
const MOVES: Duration = Duration::from_millis(100);
const LINES: Duration = Duration::from_secs(10);

/// Shows the progress of the relay: a bar on a terminal, otherwise a log line every 10 s.
async fn show(monitor: RelayMonitor, waiting: i64) {
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
        let RelayStats { sent, parked, .. } = monitor.stats();
        bar.set_position(sent + parked);
        if parked > 0 {
            bar.set_message(format!(", {parked} parked"));
        }
        if bar.is_hidden() {
            tracing::info!(sent, parked, all, "sending");
        }
    }
}

/// Prints the result, and how many rows are left.
fn summarize(
    sent: RelayStats,
    took: Duration,
    waiting: i64,
    oldest: Option<DateTime<Utc>>,
) -> Result<(), Failure> {
    let mut out = Output::new(false);
    let rate = once::rate(sent.sent, took);
    out.row("sent", format_args!("{} ({rate:.0}/s)", sent.sent));
    out.row("failed", sent.failed);
    out.row("parked", sent.parked);
    out.row("waiting", waiting);
    if let Some(oldest) = oldest {
        let age = (Utc::now() - oldest).to_std().unwrap_or_default();
        let age = Duration::from_secs(age.as_secs());
        let age = humantime::format_duration(age);
        out.row("oldest", age);
    }
    out.finish()
}

fn failure(error: RelayError) -> Failure {
    match error {
        RelayError::Broker(stomp) if stomp.is_misconfigured() => Failure::usage(stomp),
        RelayError::Broker(_) | RelayError::Database(_) => Failure::runtime(error),
        _ => Failure::usage(error),
    }
}
