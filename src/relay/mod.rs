//! From the outbox to the broker.
//!
//! A relay claims rows under a lease, sends them with a window of receipts in flight, and settles
//! each row by what the broker said of it: never without the receipt for that very row, never
//! with a transaction open while it waits.

mod backlog;
mod breaker;
mod engine;
mod holdings;
mod hooks;
#[cfg(feature = "postgres")]
mod listener;
mod locked_rows;
mod memory;
mod outcomes;
mod progress;
mod reach;
mod retry;
mod row;
mod suspects;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use crate::apart::apart;
use crate::backend::{Backend, Scope};
use crate::cleanup::Cleanup;
use crate::config::Config;
use crate::db::{Address, AddressError, Db, DbError};
use crate::outage::Outage;
use crate::shutdown::Shutdown;
use crate::stomp::{self, Connector};

use engine::Engine;
use hooks::Hooks;
use wake::Watcher;

pub use hooks::Told;
pub use progress::Progress;
pub use wake::Waker;

use retry::RetryRules;

/// Why a relay ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The database's address serves no database of this build.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The broker's address cannot be read.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// A stream that no row has, and that was never paused nor resumed.
    #[error(
        "stream `{}`: no row has it{}; if it is yet to come, `outbox resume --stream {}` makes it known",
        .stream.escape_debug(), known_streams(.known), .stream.escape_debug()
    )]
    UnknownStream {
        /// The stream.
        stream: String,
        /// The streams there are.
        known: Vec<String>,
    },
    /// The broker refused us, or, where the relay was to run once, is away.
    #[error("the broker: {0}")]
    Broker(#[source] stomp::Error),
    /// The tables are missing or, where the relay was to run once, the database is away.
    #[error(transparent)]
    Database(#[from] DbError),
}

fn known_streams(known: &[String]) -> String {
    if known.is_empty() {
        return ", nor any other stream".to_owned();
    }
    let known: Vec<String> = known
        .iter()
        .take(20)
        .map(|stream| format!("`{}`", stream.escape_debug()))
        .collect();
    format!("; there are {}", known.join(", "))
}

/// What a relay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Rows for which the broker's receipt came.
    pub sent: u64,
    /// Attempts that failed by a row's own fault.
    pub failed: u64,
    /// Rows that were parked, as failed or expired.
    pub parked: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.parked += other.parked;
    }
}

/// Sends the rows of an outbox to a broker.
///
/// Any number of relays may work on one outbox: no row is sent by two of them while both live.
#[derive(Debug)]
pub struct Relay<C: Backend> {
    db: Db<C>,
    connector: Connector,
    settings: Settings,
    hooks: Hooks,
    waker: Waker,
    progress: Progress,
    /// Whether the database is watched.
    watches: bool,
    cleanup: Cleanup<C>,
    maximum_backoff: Duration,
}

/// The settings that the engine works by.
#[derive(Debug, Clone)]
struct Settings {
    chunk_size: usize,
    scope: Scope,
    window: usize,
    maximum_message_size: usize,
    memory_limit: usize,
    lease: Duration,
    poll_interval: Duration,
    receipt_timeout: Duration,
    shutdown_timeout: Option<Duration>,
    maximum_backoff: Duration,
    retry: RetryRules,
    breaker_failures: usize,
    breaker_pause: Duration,
}

/// A claim and a settlement at a time, and one connection for the cleaning.
const CONNECTIONS: u32 = 3;

impl<C: Backend> Relay<C> {
    /// A relay by these settings. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the settings are invalid, or an address cannot be read or names another database.
    pub fn new(config: &Config) -> Result<Self, RelayError> {
        config.validate()?;
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        let db = Db::for_ourselves(config, &address, CONNECTIONS);
        Ok(Self {
            cleanup: Cleanup::of_outbox(db.clone(), config),
            db,
            connector: Connector::new(config.stomp_options()?, config.maximum_backoff),
            settings: Settings {
                chunk_size: config.chunk_size,
                scope: Scope {
                    streams: config.stream.clone(),
                    destinations: config.destination.clone(),
                    ordered_streams: config.ordered_stream.clone(),
                    ordered_destinations: config.ordered_destination.clone(),
                    ..Scope::default()
                },
                window: config.window,
                maximum_message_size: config.maximum_message_size,
                memory_limit: config.memory_limit,
                lease: config.lease,
                poll_interval: config.poll_interval,
                receipt_timeout: config.receipt_timeout,
                shutdown_timeout: config.shutdown_timeout,
                maximum_backoff: config.maximum_backoff,
                retry: RetryRules::new(config),
                breaker_failures: usize::try_from(config.breaker_failures).unwrap_or(usize::MAX),
                breaker_pause: config.breaker_pause,
            },
            hooks: Hooks::default(),
            waker: Waker::default(),
            progress: Progress::default(),
            watches: config.wake_up,
            maximum_backoff: config.maximum_backoff,
        })
    }

    /// What wakes this relay from the same process, for after a commit.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What this relay has done so far, for as long as it runs and afterwards.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Calls `hook` for each row for which the broker's receipt has come. The database may not
    /// know it yet, and where the relay dies before it does, the row is sent again.
    ///
    /// Hooks are called on a thread of their own. One that panics is logged; one that blocks holds
    /// up the other hooks, not the relay: when they are 10,000 rows behind, or a quarter of the
    /// setting `memory_limit`, they are not told of more.
    #[must_use]
    pub fn on_published(mut self, hook: impl Fn(&Told) + Send + Sync + 'static) -> Self {
        self.hooks.published = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each attempt that failed by the row's own fault and is made again; see
    /// [`on_published`](Self::on_published).
    #[must_use]
    pub fn on_failed(mut self, hook: impl Fn(&Told) + Send + Sync + 'static) -> Self {
        self.hooks.failed = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each row that is parked; see [`on_published`](Self::on_published).
    #[must_use]
    pub fn on_parked(mut self, hook: impl Fn(&Told) + Send + Sync + 'static) -> Self {
        self.hooks.parked = Some(Arc::new(hook));
        self
    }

    /// Sends what is due, and goes on until `shutdown` is wished for: then nothing more is
    /// claimed, what is in flight is settled, and the rest is given back. While the broker or the
    /// database is away it waits.
    ///
    /// It works in a task of the runtime, which ends when this future is dropped: leases that are
    /// held then end by themselves.
    ///
    /// # Errors
    ///
    /// When the tables are missing, a stream is unknown, or the broker refuses the login or the
    /// virtual host at the first connection.
    pub async fn run(self, shutdown: &Shutdown) -> Result<Sent, RelayError> {
        let shutdown = shutdown.clone();
        apart(async move { self.go_on(&shutdown).await }).await
    }

    async fn go_on(mut self, shutdown: &Shutdown) -> Result<Sent, RelayError> {
        self.db = self.db.until(shutdown);
        let mut outage = Outage::new("the database", self.maximum_backoff);
        if !self.db.ready(&mut outage, shutdown).await? {
            return Ok(Sent::default());
        }
        self.check_streams().await?;
        let _watcher = self.watches.then(|| Watcher::start(&self.db, &self.waker));
        let (settings, hooks) = (self.settings, self.hooks);
        let engine = Engine::new(self.db, self.connector, settings, hooks, shutdown, false)
            .woken_by(self.waker)
            .counted_by(self.progress);
        let cleaning = async {
            self.cleanup.run(shutdown).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            sent = engine.run() => sent,
            // Ends with the relay, not before it.
            () = cleaning => Ok(Sent::default()),
        }
    }

    /// A name that was mistyped would never be sent.
    async fn check_streams(&self) -> Result<(), RelayError> {
        for stream in self.settings.scope.streams.clone() {
            let name = stream.clone();
            if !self.db.run(move |conn| conn.knows_stream(&name)).await? {
                let known = self.db.run(C::streams).await?;
                return Err(RelayError::UnknownStream { stream, known });
            }
        }
        Ok(())
    }

    /// Sends all that is due now and ends, in a task as [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// When the tables are missing, a stream is unknown, or the database or the broker is away or
    /// refuses us. What was sent until then is settled.
    pub async fn run_once(self, shutdown: &Shutdown) -> Result<Sent, RelayError> {
        let shutdown = shutdown.clone();
        apart(async move { self.drain(&shutdown).await }).await
    }

    async fn drain(mut self, shutdown: &Shutdown) -> Result<Sent, RelayError> {
        self.db = self.db.until(shutdown);
        self.db.check_tables().await?;
        self.check_streams().await?;
        let (settings, hooks) = (self.settings, self.hooks);
        let engine = Engine::new(self.db, self.connector, settings, hooks, shutdown, true)
            .counted_by(self.progress);
        let sent = engine.run().await?;
        self.cleanup.once().await;
        Ok(sent)
    }
}
