//! A relay and subscribers at work until nothing is left to be done, for tests of a whole flow.

use std::sync::Arc;
use std::time::Duration;

use super::LoopbackBroker;
use crate::backend::Backend;
use crate::config::Config;
use crate::registry::Registry;
use crate::relay::{Relay, RelayError, Sent};
use crate::shutdown::Shutdown;
use crate::subscriber::{Handled, SubscribeError, Subscriber};

/// What was done until nothing was left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// What the relay sent.
    pub sent: Sent,
    /// What the subscribers handled.
    pub handled: Handled,
}

/// Why it did not come to rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The relay ended.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// A subscriber ended.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// There was always something left to do.
    #[error("there is still something to do after {0:?}")]
    Restless(Duration),
}

/// Sends what is due, lets the callbacks of [`Config::subscription`] handle what arrives, and goes on
/// with what they publish, until the outbox has nothing due and no queue of theirs holds a message.
/// It waits for the broker's own word and never sleeps; callbacks that fail are waited for until they
/// are given up, so keep `callback_first_delay` short.
///
/// # Errors
///
/// When relay or subscribers end, and when it takes longer than `patience`.
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
    settled.sent = sent.map_err(|_| SettleError::Restless(patience))??;
    Ok(settled)
}

async fn until_idle<C: Backend>(
    broker: &Arc<LoopbackBroker>,
    config: &Config,
    queues: &[String],
    patience: Duration,
) -> Result<Sent, SettleError> {
    let mut all = Sent::default();
    loop {
        // A topic hands on only what a queue is there for.
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
            return Err(SettleError::Restless(patience));
        }
        let sent = Relay::<C>::new(config)?.run_once(&Shutdown::new()).await?;
        all += sent;
        if sent.sent == 0 {
            return Ok(all);
        }
    }
}
