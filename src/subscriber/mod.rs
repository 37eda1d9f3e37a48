//! From the broker to the inbox and a callback.

mod answers;
mod blame;
mod count;
mod crew;
mod dead_letter;
mod desk;
mod engine;
mod external;
mod inbox;
mod job;
mod lanes;
mod letters;
mod managed;
mod patience;
mod queue;
mod stuck;
mod worker;

use std::time::Duration;

use crate::apart::apart;
use crate::backend::Backend;
use crate::cleanup::Cleanup;
use crate::config::{Config, DeadLetter};
use crate::db::{Address, AddressError, Db, DbError};
use crate::outage::Outage;
use crate::registry::{Callback, Registry, RegistryError};
use crate::shutdown::Shutdown;
use crate::stomp::{self, Broker, Client, Connector, Subscription};

#[cfg(feature = "testing")]
pub(crate) use inbox::{Attempt, attempt_on};
pub use queue::QueueError;

use answers::Answers;
use crew::Crew;
use engine::{Ended, Engine};
use letters::Letters;
use patience::Patience;
use queue::Queue;

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
    /// The threads of the workers could not be started.
    #[error("the workers' threads could not be started: {0}")]
    Threads(#[source] std::io::Error),
    /// Callbacks did not finish within `shutdown_timeout`; their messages are delivered again.
    #[error("callbacks were still running {after:?} after the wish to stop")]
    Unfinished {
        /// `shutdown_timeout`.
        after: Duration,
    },
}

impl SubscribeError {
    /// Whether the settings or the arguments are wrong: nothing was connected.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_misconfigured(),
            Self::Database(_) | Self::Threads(_) | Self::Unfinished { .. } => false,
            _ => true,
        }
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

impl std::ops::AddAssign for Handled {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.duplicates += other.duplicates;
        self.discarded += other.discarded;
        self.dead += other.dead;
    }
}

/// The settings that a session works by.
#[derive(Debug, Clone)]
struct Settings {
    queue: Queue,
    workers: usize,
    key_header: String,
    dead_letter: DeadLetter,
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
    delivery_limit: Option<u32>,
    cleanup: Cleanup<C>,
    maximum_backoff: Duration,
}

/// Beside those of the workers: one for the cleaning.
const CONNECTIONS: u32 = 1;
/// How long a connection may take to end after its subscription.
const ENDING: Duration = Duration::from_secs(5);
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
        let workers = u32::try_from(config.workers).unwrap_or(u32::MAX);
        let prefetch = config
            .prefetch_count
            .unwrap_or(workers.saturating_mul(PREFETCH_FOR_EACH));
        let is_activemq = config.broker == Some(Broker::ActiveMq);
        let queue = Queue::new(destination, queue, prefetch, config.exclusive)?
            .with_headers(&config.queue_headers, &config.dead_letter_headers);
        if !is_activemq {
            queue.check_for_rabbitmq()?;
        }
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        let db = Db::for_callbacks(config, &address, workers.saturating_add(CONNECTIONS));
        Ok(Self {
            cleanup: Cleanup::of_inbox(db.clone(), config),
            db,
            callback,
            options: config.stomp_options()?,
            settings: Settings {
                queue,
                workers: config.workers,
                key_header: config.key_header.clone(),
                dead_letter: config.dead_letter,
                attempts: config.callback_attempts,
                first_delay: config.callback_first_delay,
                longest_delay: config.retry_maximum_delay,
                shutdown_timeout: config.shutdown_timeout,
                id_headers: config.msg_id_headers.clone(),
                consumer: config.consumer.clone(),
            },
            delivery_limit: config.delivery_limit,
            maximum_backoff: config.maximum_backoff,
        })
    }

    /// A subscriber for each of [`Config::subscription`]. Each has a connection of its own: what a
    /// broker refuses to one of them closes that one's only, and each has its own prefetch.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when two of them have one queue, where the second would take the
    /// first one's messages.
    pub fn all(config: &Config, registry: &Registry<C>) -> Result<Vec<Self>, SubscribeError> {
        let mut all: Vec<Self> = Vec::new();
        for one in &config.subscription {
            let queue = one.queue.as_deref();
            let (callback, destination) = (&one.callback, &one.destination);
            let next = Self::new(&one.config, registry, callback, destination, queue)?;
            let name = &next.settings.queue.name;
            if all.iter().any(|other| other.settings.queue.name == *name) {
                return Err(QueueError::Twice(name.clone()).into());
            }
            all.push(next);
        }
        Ok(all)
    }

    /// The name of its queue.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.settings.queue.name
    }

    /// Consumes until `shutdown` is wished for: then nothing more is dispatched, the callbacks that
    /// run may finish, and their messages are acknowledged. While the broker or the database is
    /// away it waits.
    ///
    /// It works in a task of the runtime, which ends when this future is dropped. Callbacks that run
    /// then go on to their commits; their messages are delivered again and find their rows.
    ///
    /// # Errors
    ///
    /// When the tables are missing, or the broker refuses the login, the virtual host or the
    /// queue's arguments at the first connection; [`SubscribeError::Unfinished`] when callbacks
    /// took longer than `shutdown_timeout` to finish.
    pub async fn run(self, shutdown: &Shutdown) -> Result<Handled, SubscribeError> {
        let shutdown = shutdown.clone();
        apart(async move { self.work(&shutdown).await }).await
    }

    async fn work(self, shutdown: &Shutdown) -> Result<Handled, SubscribeError> {
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
        let db = self.db.clone().until(shutdown);
        let mut outage = Outage::new("the database", self.maximum_backoff);
        if !db.ready(&mut outage, shutdown).await? {
            return Ok(Handled::default());
        }
        // Those of the dead letters have no client's id: one connection at a time may have it.
        let letters = Connector::new(self.options.clone(), self.maximum_backoff);
        let letters = Letters::new(letters, &self.settings.queue);
        let mut options = self.options.clone();
        if let Some(id) = self.settings.queue.client_id() {
            options = options.client_id(id);
        }
        let connector = Connector::new(options, self.maximum_backoff);
        let deleting = self.settings.queue.deleting_headers();
        if !deleting.is_empty() {
            tracing::warn!(
                headers = deleting.join(", "),
                "by these headers of the queue of dead letters the broker deletes letters"
            );
        }
        let crew = Crew::new(
            &db,
            &self.callback,
            self.settings.workers,
            self.delivery_limit,
        )
        .map_err(SubscribeError::Threads)?;
        let patience = Patience::new(shutdown, self.maximum_backoff);
        let answers = Answers::new(patience, letters);
        let mut engine = Engine::new(&self.settings, crew, outage, answers);
        let mut refusals = Outage::new("the subscription", self.maximum_backoff);
        let mut was_subscribed = false;
        let mut is_told = false;
        loop {
            let reaching = self.reach(&connector, was_subscribed);
            let reached = engine.meanwhile(async {
                tokio::select! {
                    reached = reaching => Some(reached),
                    () = shutdown.wished() => None,
                }
            });
            let (client, mut subscription) = match reached.await {
                None => return self.stopped(&mut engine, None).await,
                Some(Ok(reached)) => reached,
                Some(Err(Unreached::Final(error))) => return Err(SubscribeError::Broker(error)),
                Some(Err(Unreached::Refused(error))) => {
                    let pause = refusals.noticed(&error);
                    if !engine.meanwhile(passes(pause, shutdown)).await {
                        return self.stopped(&mut engine, None).await;
                    }
                    continue;
                }
                Some(Err(Unreached::Lost(error))) => {
                    tracing::debug!(error = %error, "the connection was lost before the subscription");
                    continue;
                }
            };
            if !was_subscribed {
                self.warn_of_rejected(client.broker());
            }
            was_subscribed = true;
            // The pauses stay as long as they have grown, should it end again for the same reason.
            refusals.told_over();
            match engine.consume(&client, &mut subscription, shutdown).await {
                Ended::Stopped => {
                    return self
                        .stopped(&mut engine, Some((&client, &mut subscription)))
                        .await;
                }
                Ended::Lost => {
                    // An ERROR ends a subscription before it ends the connection.
                    let why = tokio::time::timeout(ENDING, client.closed());
                    let why = engine.meanwhile(why).await.ok();
                    // Such as a queue that was deleted, or a frame that nobody can read: the broker
                    // sends that again, and is not to be asked for it without a pause.
                    let is_theirs = |error: &stomp::Error| {
                        error.error_frame().is_some() || error.is_unreadable()
                    };
                    if let Some(error) = why.filter(is_theirs) {
                        if error.is_unreadable() && !std::mem::replace(&mut is_told, true) {
                            tracing::error!(
                                error = %error,
                                queue = self.settings.queue.name,
                                "a frame of the broker cannot be read and names nothing to answer it by; \
                                 the subscription ends at each of them and is made again, after \
                                 pauses that grow"
                            );
                        }
                        // The pauses are ours then.
                        connector.is_well();
                        let pause = refusals.noticed(&error);
                        if !engine.meanwhile(passes(pause, shutdown)).await {
                            return self.stopped(&mut engine, None).await;
                        }
                    } else {
                        tracing::debug!("the subscription has ended with its connection");
                        refusals.reset();
                        is_told = false;
                    }
                }
            }
        }
    }

    /// What we do not declare we cannot bind to our queue of dead letters.
    fn warn_of_rejected(&self, broker: Broker) {
        let queue = &self.settings.queue;
        let is_left_to_it = self.settings.dead_letter == DeadLetter::Broker;
        if is_left_to_it && broker != Broker::ActiveMq && !queue.buries(broker) {
            tracing::warn!(
                destination = queue.destination,
                "RabbitMQ drops what is rejected from this queue unless it has a dead-letter exchange; \
                 dead_letter = \"outbox\" keeps it in `{}`",
                queue.dead_letters(broker)
            );
        }
    }

    /// A connection and its subscription.
    async fn reach(
        &self,
        connector: &Connector,
        was_subscribed: bool,
    ) -> Result<(Client, Subscription), Unreached> {
        let give_up = |error: &stomp::Error| !was_subscribed && error.is_final();
        let client = connector.connect(give_up).await.map_err(Unreached::Final)?;
        let queue = &self.settings.queue;
        match queue.open(connector, &client).await {
            Ok(subscription) => {
                tracing::info!(
                    destination = queue.destination,
                    queue = queue.name,
                    dead_letters = queue.dead_letters(client.broker()),
                    prefetch = queue.prefetch,
                    workers = self.settings.workers,
                    broker = client.server(),
                    "subscribed"
                );
                Ok((client, subscription))
            }
            Err(error) if error.error_frame().is_none() => Err(if client.is_closed() {
                Unreached::Lost(error)
            } else {
                // The connector has no reason to wait, so we have.
                Unreached::Refused(error)
            }),
            Err(error) if was_subscribed => Err(Unreached::Refused(error)),
            Err(error) => Err(Unreached::Final(error)),
        }
    }

    /// Lets the callbacks finish, and leaves.
    async fn stopped(
        &self,
        engine: &mut Engine<'_, C>,
        subscribed: Option<(&Client, &mut Subscription)>,
    ) -> Result<Handled, SubscribeError> {
        let finished = engine
            .finish(subscribed.as_ref().map(|(client, _)| *client))
            .await;
        engine.settle().await;
        if let Some((client, subscription)) = subscribed {
            engine.take_leave(client, subscription).await;
        }
        let handled = engine.handled;
        tracing::info!(
            done = handled.done,
            duplicates = handled.duplicates,
            discarded = handled.discarded,
            dead = handled.dead,
            "the subscriber has stopped"
        );
        match self.settings.shutdown_timeout {
            Some(after) if !finished => Err(SubscribeError::Unfinished { after }),
            _ => Ok(handled),
        }
    }
}

/// Waits; false where `shutdown` was wished for in the meantime.
async fn passes(pause: Duration, shutdown: &Shutdown) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = shutdown.wished() => false,
    }
}

/// Why there is no subscription.
enum Unreached {
    /// As the settings are, there will be none.
    Final(stomp::Error),
    /// The broker does not let us subscribe, though it did before, or though the connection is well.
    Refused(stomp::Error),
    /// The connection was lost before.
    Lost(stomp::Error),
}
