//! Runs a relay and subscribers until nothing is left to do, for tests of a whole flow.

use std::sync::Arc;
use std::time::Duration;

use super::LoopbackBroker;
use crate::backend::Backend;
use crate::callback::Registry;
use crate::config::Config;
use crate::relay::{Relay, RelayError, RelayStats};
use crate::runtime::shutdown::Shutdown;
use crate::subscriber::{SubscribeError, Subscriber, SubscriberStats};

/// What the relay and the subscribers did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// What the relay sent.
    pub sent: RelayStats,
    /// What the subscribers handled.
    pub handled: SubscriberStats,
}

/// Why the flow did not settle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The relay ended.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// A subscriber ended.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Messages were still due or queued after this time.
    #[error("not settled within {0:?}: the outbox has due messages, or a queue is not empty")]
    NotSettled(Duration),
}

/// Runs a relay and the subscribers of [`Config::subscription`] until the outbox has no due message
/// and the subscribers' queues are empty.
///
/// Messages that the callbacks publish are sent and handled too. A failing callback is retried until
/// its attempts are exhausted, so set a short `callback_first_delay`. The function waits for events
/// of the broker and does not sleep.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use diesel::connection::SimpleConnection;
/// use diesel::{Connection, SqliteConnection};
/// use diesel_outbox::config::{Config, SubscriptionConfig};
/// use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::testing::{self, LoopbackBroker};
/// use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};
///
/// // The callback of the service.
/// fn bill(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
///     let order: i32 = payload.json()?;
///     conn.batch_execute(&format!("insert into bills values ({order})"))?;
///     Ok(Outcome::Done)
/// }
///
/// let folder = std::env::temp_dir().join(format!("settle-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// let database = folder.join("shop.sqlite").display().to_string();
/// let mut conn = SqliteConnection::establish(&database)?;
/// conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 5000")?;
/// conn.migrate()?;
/// conn.batch_execute("create table bills (id integer primary key)")?;
///
/// let broker = Arc::new(LoopbackBroker::start()?);
/// let mut config = Config::builder()
///     .set("database_url", database)
///     .set("stomp_url", broker.url())
///     .set("callback_first_delay", "1ms")
///     .build()?;
/// let subscription = SubscriptionConfig::new("bill", "/topic/orders", Some("billing"), &config);
/// config.subscription.push(subscription);
/// let registry = Registry::new().on("bill", bill);
///
/// Message::new("/topic/orders", 7).publish(&mut conn)?;
/// let settled = testing::settle(&broker, &config, &registry, Duration::from_secs(30)).await?;
/// assert_eq!((settled.sent.sent, settled.handled.done), (1, 1));
/// # drop(conn);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
///
/// # Errors
///
/// [`SettleError`] if the relay or a subscriber ends with an error, or if it takes longer than
/// `patience`.
pub async fn settle<C: Backend>(
    broker: &Arc<LoopbackBroker>,
    config: &Config,
    registry: &Registry<C>,
    patience: Duration,
) -> Result<Settled, SettleError> {
    let subscribers = Subscriber::all(config, registry)?;
    let queues: Vec<String> = subscribers
        .iter()
        .map(|subscriber| subscriber.queue().to_owned())
        .collect();
    let shutdown = Shutdown::new();
    let running: Vec<_> = subscribers
        .into_iter()
        .map(|subscriber| {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { subscriber.run(&shutdown).await })
        })
        .collect();
    let work = tokio::time::timeout(patience, until_idle::<C>(broker, config, &queues, patience));
    let sent = work.await;
    shutdown.stop();
    let mut settled = Settled::default();
    for subscriber in running {
        if let Ok(handled) = subscriber.await {
            settled.handled += handled?;
        }
    }
    settled.sent = sent.map_err(|_| SettleError::NotSettled(patience))??;
    Ok(settled)
}

async fn until_idle<C: Backend>(
    broker: &Arc<LoopbackBroker>,
    config: &Config,
    queues: &[String],
    patience: Duration,
) -> Result<RelayStats, SettleError> {
    let mut all = RelayStats::default();
    loop {
        // A topic drops messages that no queue is bound to.
        let (watched, names) = (Arc::clone(broker), queues.to_vec());
        let wait = move || {
            watched.wait_for(patience, |view| {
                let is_idle = |name: &String| {
                    view.subscriptions(name) > 0
                        && view.ready(name) == 0
                        && view.unacknowledged(name) == 0
                };
                names.iter().all(is_idle)
            })
        };
        if !tokio::task::spawn_blocking(wait).await.unwrap_or(false) {
            return Err(SettleError::NotSettled(patience));
        }
        let sent = Relay::<C>::new(config)?.run_once(&Shutdown::new()).await?;
        all += sent;
        if sent.sent == 0 {
            return Ok(all);
        }
    }
}
