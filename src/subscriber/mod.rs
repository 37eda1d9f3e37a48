//! From the broker to the inbox and a callback.

mod inbox;
mod queue;
mod session;

use std::time::Duration;

use crate::backend::Backend;
use crate::cleanup::Cleanup;
use crate::config::Config;
use crate::db::{Address, AddressError, Db, DbError};
use crate::outage::Outage;
use crate::registry::{Callback, Registry, RegistryError};
use crate::shutdown::Shutdown;
use crate::stomp::{self, Connector};

pub use queue::QueueError;

use queue::Queue;
use session::{Ended, Session};

/// Why a subscriber ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The callback is unknown, or registered twice.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nothing can be subscribed to.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The database's address serves no database of this build.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The broker's address cannot be read.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The broker refuses the login, the virtual host or the queue's arguments.
    #[error("the broker: {0}")]
    Broker(#[source] stomp::Error),
    /// The tables are missing, or the database refuses us.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl SubscribeError {
    /// Whether the settings or the arguments are wrong: nothing was connected.
    pub(crate) fn is_usage(&self) -> bool {
        !matches!(self, Self::Broker(_) | Self::Database(_))
    }
}

/// What a subscriber did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// Messages that had their effect.
    pub done: u64,
    /// Messages that had had it before.
    pub duplicates: u64,
    /// Messages that a callback discarded.
    pub discarded: u64,
    /// Messages that were given up after their attempts.
    pub dead: u64,
}

/// The settings that a session works by.
#[derive(Debug, Clone)]
struct Settings {
    queue: Queue,
    attempts: u32,
    first_delay: Duration,
    longest_delay: Duration,
    shutdown_timeout: Option<Duration>,
    id_headers: Vec<String>,
    consumer: String,
}

/// Consumes a queue: each message has its effect once, in the transaction that remembers it.
#[derive(Debug)]
pub struct Subscriber<C: Backend> {
    db: Db<C>,
    callback: Callback<C>,
    options: stomp::Options,
    settings: Settings,
    cleanup: Cleanup<C>,
    maximum_backoff: Duration,
}

/// One callback at a time, and a connection for the cleaning.
const CONNECTIONS: u32 = 2;
/// Messages that the broker may hand over ahead, for each callback that runs.
const PREFETCH_FOR_EACH: u32 = 2;

impl<C: Backend> Subscriber<C> {
    /// A subscriber of `destination` that calls `callback` of the registry. Without a `queue` the
    /// queue has the name of the destination's last segment. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the settings, the callback's name or the destination are invalid.
    pub fn new(
        config: &Config,
        registry: &Registry<C>,
        callback: &str,
        destination: &str,
        queue: Option<&str>,
    ) -> Result<Self, SubscribeError> {
        config.validate()?;
        let callback = registry.get(callback, config.exec_timeout)?;
        let prefetch = config.prefetch_count.unwrap_or(PREFETCH_FOR_EACH);
        let queue = Queue::new(destination, queue, prefetch, config.exclusive)?
            .with_headers(&config.queue_headers);
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        let db = Db::new(config, &address, CONNECTIONS);
        Ok(Self {
            cleanup: Cleanup::new(db.clone(), config),
            db,
            callback,
            options: config.stomp_options()?,
            settings: Settings {
                queue,
                attempts: config.callback_attempts,
                first_delay: config.callback_first_delay,
                longest_delay: config.retry_maximum_delay,
                shutdown_timeout: config.shutdown_timeout,
                id_headers: config.msg_id_headers.clone(),
                consumer: config.consumer.clone(),
            },
            maximum_backoff: config.maximum_backoff,
        })
    }

    /// Consumes until `shutdown` is wished for: then nothing more is dispatched, the callback that
    /// runs may finish, and its message is acknowledged. While the broker or the database is away
    /// it waits.
    ///
    /// # Errors
    ///
    /// When the tables are missing, or the broker refuses the login, the virtual host or the
    /// queue's arguments at the first connection.
    pub async fn run(self, shutdown: &Shutdown) -> Result<Handled, SubscribeError> {
        let cleaning = async {
            self.cleanup.run(shutdown).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            handled = self.consume(shutdown) => handled,
            // Ends with the subscriber, not before it.
            () = cleaning => Ok(Handled::default()),
        }
    }

    async fn consume(&self, shutdown: &Shutdown) -> Result<Handled, SubscribeError> {
        let mut handled = Handled::default();
        let mut outage = Outage::new("the database", self.maximum_backoff);
        if !self.db.ready(&mut outage, shutdown).await? {
            return Ok(handled);
        }
        let mut options = self.options.clone();
        if let Some(id) = self.settings.queue.client_id() {
            options = options.client_id(id);
        }
        let connector = Connector::new(options, self.maximum_backoff);
        let mut refusals = Outage::new("the subscription", self.maximum_backoff);
        let mut was_subscribed = false;
        loop {
            let give_up = |error: &stomp::Error| !was_subscribed && error.is_refused_login();
            let client = tokio::select! {
                client = connector.connect(give_up) => client.map_err(SubscribeError::Broker)?,
                () = shutdown.wished() => return Ok(handled),
            };
            let mut session = Session {
                db: &self.db,
                callback: &self.callback,
                settings: &self.settings,
                shutdown,
                client: &client,
                outage: &mut outage,
                handled: &mut handled,
            };
            match session.run(&connector, &mut was_subscribed).await {
                Ended::Stopped => {
                    tracing::info!(
                        done = handled.done,
                        duplicates = handled.duplicates,
                        discarded = handled.discarded,
                        dead = handled.dead,
                        "the subscriber has stopped"
                    );
                    return Ok(handled);
                }
                Ended::Refused(error) if !was_subscribed => {
                    return Err(SubscribeError::Broker(error));
                }
                Ended::Refused(error) => {
                    let pause = refusals.noticed(&error);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.wished() => return Ok(handled),
                    }
                }
                Ended::Lost => refusals.over(),
            }
        }
    }
}
