//! The connections of a subscriber, one after another.

use std::time::Duration;

use super::acks::Acks;
use super::dead_letter_queue::DeadLetterQueue;
use super::engine::{Ended, Engine};
use super::error::SubscribeError;
use super::queue_error::QueueError;
use super::retry_send::RetrySend;
use super::stats::SubscriberStats;
use super::subscriber::Subscriber;
use super::worker_pool::WorkerPool;
use crate::backend::Backend;
use crate::broker::Broker;
use crate::config::DeadLetter;
use crate::db::Db;
use crate::metrics::SubscriberMetrics;
use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;
use crate::stomp::{self, Client, Connector, Subscription};

/// How long a connection may take to end after its subscription.
const CLOSE_REASON_TIMEOUT: Duration = Duration::from_secs(5);

impl<C: Backend> Subscriber<C> {
    /// Connects and subscribes again and again, until the shutdown signal is given.
    pub(super) async fn consume(
        &self,
        db: &Db<C>,
        outage: Outage,
        shutdown: &Shutdown,
    ) -> Result<SubscriberStats, SubscribeError> {
        // The connections for dead letters have no client id: only one connection may have it.
        let connector = Connector::new(self.options.clone(), self.maximum_backoff);
        let dead_letter_queue = DeadLetterQueue::new(connector, &self.settings.queue);
        let mut options = self.options.clone();
        if let Some(id) = self.settings.queue.client_id() {
            options = options.client_id(id);
        }
        let connector = Connector::new(options, self.maximum_backoff);
        let deleting = self.settings.queue.deleting_headers();
        if !deleting.is_empty() {
            tracing::warn!(
                headers = deleting.join(", "),
                "with these headers of the dead-letter queue the broker deletes dead letters"
            );
        }
        let worker_pool = WorkerPool::new(
            db,
            &self.callback,
            self.settings.workers,
            self.delivery_limit,
        )
        .map_err(SubscribeError::Threads)?;
        let retry_send = RetrySend::new(shutdown, self.maximum_backoff);
        let acks = Acks::new(retry_send, dead_letter_queue);
        let monitor = self.monitor.clone();
        let metrics = SubscriberMetrics::new(&self.callback_name);
        let mut engine = Engine::new(&self.settings, worker_pool, outage, acks, monitor, metrics);
        let mut refusals = Outage::new("the subscription", self.maximum_backoff);
        let mut was_subscribed = false;
        let mut has_reported_unreadable = false;
        loop {
            let connecting = self.connect(&connector, was_subscribed);
            let connected = engine.meanwhile(async {
                tokio::select! {
                    connected = connecting => Some(connected),
                    () = shutdown.requested() => None,
                }
            });
            let (client, mut subscription) = match connected.await {
                None => return self.stopped(&mut engine, None).await,
                Some(Ok(connected)) => connected,
                Some(Err(ConnectFailure::Final(error))) => {
                    return Err(SubscribeError::Broker(error));
                }
                Some(Err(ConnectFailure::Unknown(error))) => return Err(error.into()),
                Some(Err(ConnectFailure::Refused(error))) => {
                    self.monitor.disconnected(&error);
                    let pause = refusals.pause_after(&error);
                    if !engine.meanwhile(passes(pause, shutdown)).await {
                        return self.stopped(&mut engine, None).await;
                    }
                    continue;
                }
                Some(Err(ConnectFailure::Lost(error))) => {
                    self.monitor.disconnected(&error);
                    tracing::debug!(error = %error, "the connection was lost before the subscription");
                    continue;
                }
            };
            if was_subscribed {
                engine.metrics.reconnects.increment(1);
            } else {
                if let Some(caveat) = client.broker().caveat() {
                    tracing::warn!(broker = client.server(), "{caveat}");
                }
                self.warn_of_rejected(client.broker());
                self.warn_of_ignored(client.broker());
            }
            was_subscribed = true;
            self.monitor.connected();
            // The pauses keep their length, in case the subscription ends again for the same reason.
            refusals.log_end();
            match engine.consume(&client, &mut subscription, shutdown).await {
                Ended::Stopped => {
                    return self
                        .stopped(&mut engine, Some((&client, &mut subscription)))
                        .await;
                }
                Ended::Lost => {
                    // An ERROR ends the subscription before it ends the connection.
                    let why = tokio::time::timeout(CLOSE_REASON_TIMEOUT, client.closed());
                    let why = engine.meanwhile(why).await.ok();
                    match &why {
                        Some(error) => self.monitor.disconnected(error),
                        None => self.monitor.disconnected(&"the subscription has ended"),
                    }
                    // Such as a deleted queue, or a frame that cannot be read: the broker would send it
                    // again at once, so there is a pause.
                    let is_from_broker = |error: &stomp::Error| {
                        error.error_frame().is_some() || error.is_decode_error()
                    };
                    if let Some(error) = why.filter(is_from_broker) {
                        if error.is_decode_error()
                            && !std::mem::replace(&mut has_reported_unreadable, true)
                        {
                            tracing::error!(
                                error = %error,
                                queue = self.settings.queue.name,
                                "a frame of the broker cannot be read and has no id to answer it by; each such \
                                 frame ends the subscription, which is made again after growing pauses"
                            );
                        }
                        // The pauses are those of `refusals`.
                        connector.reset_backoff();
                        let pause = refusals.pause_after(&error);
                        if !engine.meanwhile(passes(pause, shutdown)).await {
                            return self.stopped(&mut engine, None).await;
                        }
                    } else {
                        tracing::debug!("the subscription has ended with its connection");
                        refusals.reset();
                        has_reported_unreadable = false;
                    }
                }
            }
        }
    }

    /// Warns if rejected messages are lost: a queue that others have declared may have no dead letters.
    fn warn_of_rejected(&self, broker: Broker) {
        let queue = &self.settings.queue;
        let uses_broker_queue = self.settings.dead_letter == DeadLetter::Broker;
        if uses_broker_queue
            && !broker.quirks().always_keeps_rejected()
            && !queue.is_declared_with_dead_letters(broker)
        {
            tracing::warn!(
                destination = queue.destination,
                "RabbitMQ drops what is rejected from this queue unless it has a dead-letter exchange; \
                 dead_letter = \"outbox\" keeps it in `{}`",
                queue.dead_letters(broker, DeadLetter::Outbox)
            );
        }
    }

    /// Warns of queue arguments that the broker does not take from a STOMP client.
    fn warn_of_ignored(&self, broker: Broker) {
        let queue = &self.settings.queue;
        for headers in [&queue.headers, &queue.dead_letter_headers] {
            let ignored = broker.ignored_arguments(headers);
            if !ignored.is_empty() {
                tracing::warn!(
                    queue = queue.name,
                    headers = ignored.join(", "),
                    "RabbitMQ ignores these queue arguments of STOMP clients; set them in a policy"
                );
                return;
            }
        }
    }

    /// Connects and subscribes.
    async fn connect(
        &self,
        connector: &Connector,
        was_subscribed: bool,
    ) -> Result<(Client, Subscription), ConnectFailure> {
        let is_final = |error: &stomp::Error| {
            self.monitor.disconnected(error);
            !was_subscribed && error.is_final()
        };
        let client = connector
            .connect(is_final)
            .await
            .map_err(ConnectFailure::Final)?;
        let queue = &self.settings.queue;
        if let Err(error) = queue.check_for(client.broker())
            && !was_subscribed
        {
            return Err(ConnectFailure::Unknown(error));
        }
        if !was_subscribed {
            match queue.is_stream(connector, client.broker()).await {
                Ok(false) => {}
                Ok(true) => {
                    return Err(ConnectFailure::Unknown(QueueError::Stream(
                        queue.name.clone(),
                    )));
                }
                Err(error) => return Err(ConnectFailure::Lost(error)),
            }
        }
        match queue.open(connector, &client).await {
            Ok(subscription) => {
                tracing::info!(
                    destination = queue.destination,
                    queue = queue.name,
                    dead_letters = queue.dead_letters(client.broker(), self.settings.dead_letter),
                    prefetch = queue.prefetch,
                    workers = self.settings.workers,
                    broker = client.server(),
                    "subscribed"
                );
                Ok((client, subscription))
            }
            Err(error) if error.error_frame().is_none() => Err(if client.is_closed() {
                ConnectFailure::Lost(error)
            } else {
                // The connection works, so the connector does not pause; we do.
                ConnectFailure::Refused(error)
            }),
            Err(error) if was_subscribed => Err(ConnectFailure::Refused(error)),
            Err(error) => Err(ConnectFailure::Final(error)),
        }
    }

    /// Waits for the running callbacks, and disconnects.
    async fn stopped(
        &self,
        engine: &mut Engine<'_, C>,
        subscribed: Option<(&Client, &mut Subscription)>,
    ) -> Result<SubscriberStats, SubscribeError> {
        let finished = engine
            .finish(subscribed.as_ref().map(|(client, _)| *client))
            .await;
        engine.settle().await;
        if let Some((client, subscription)) = subscribed {
            engine.disconnect(client, subscription).await;
        }
        let stats = self.monitor.stats();
        tracing::info!(
            done = stats.done,
            duplicates = stats.duplicates,
            discarded = stats.discarded,
            dead = stats.dead,
            "the subscriber has stopped"
        );
        match self.settings.shutdown_timeout {
            Some(after) if !finished => Err(SubscribeError::Unfinished { after }),
            _ => Ok(stats),
        }
    }
}

/// Waits. Returns false if the shutdown signal was given meanwhile.
async fn passes(pause: Duration, shutdown: &Shutdown) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = shutdown.requested() => false,
    }
}

/// Why there is no subscription.
enum ConnectFailure {
    /// The settings are wrong; a retry would not help.
    Final(stomp::Error),
    /// The broker does not know the destination, or it cannot be subscribed to.
    Unknown(QueueError),
    /// The broker refuses the subscription, which it accepted before or may accept later.
    Refused(stomp::Error),
    /// The connection was lost before the subscription.
    Lost(stomp::Error),
}
