//! One connection's worth of consuming.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::db::Db;
use crate::outage::Outage;
use crate::payload::Payload;
use crate::registry::{BoxError, Callback};
use crate::shutdown::Shutdown;
use crate::stomp::{
    Broker, Client, Connector, Delivery, Error as StompError, Receipt, Subscription,
};

use super::inbox::{self, Attempt};
use super::{Handled, Settings};

/// How long the broker has to answer when we take our leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a session ended.
pub(super) enum Ended {
    /// As it was asked to.
    Stopped,
    /// The connection is gone.
    Lost,
    /// The broker does not let us subscribe.
    Refused(StompError),
}

/// What comes after a message.
enum Next {
    Message,
    Stop,
    /// Stop, though a callback still runs.
    Abandon,
    Lost,
}

pub(super) struct Session<'a, C: Backend> {
    pub(super) db: &'a Db<C>,
    pub(super) callback: &'a Callback<C>,
    pub(super) settings: &'a Settings,
    pub(super) shutdown: &'a Shutdown,
    pub(super) client: &'a Client,
    pub(super) outage: &'a mut Outage,
    pub(super) handled: &'a mut Handled,
}

impl<C: Backend> Session<'_, C> {
    pub(super) async fn run(&mut self, connector: &Connector, subscribed: &mut bool) -> Ended {
        let subscription = tokio::select! {
            subscription = self.subscribe(connector) => subscription,
            () = self.shutdown.wished() => return Ended::Stopped,
        };
        let subscription = match subscription {
            Ok(subscription) => subscription,
            Err(error) if error.error_frame().is_some() => return Ended::Refused(error),
            Err(error) => {
                tracing::debug!(error = %error, "the connection was lost before the subscription");
                return Ended::Lost;
            }
        };
        *subscribed = true;
        let queue = &self.settings.queue;
        tracing::info!(
            destination = queue.destination,
            queue = queue.name,
            dead_letters = queue.dead_letters(self.client.broker()),
            prefetch = queue.prefetch,
            broker = self.client.server(),
            "subscribed"
        );
        self.consume(subscription).await
    }

    async fn subscribe(&self, connector: &Connector) -> Result<Subscription, StompError> {
        let queue = &self.settings.queue;
        let broker = self.client.broker();
        if broker != Broker::ActiveMq {
            // On a connection of its own: RabbitMQ keeps what it has handed to a subscription
            // unacknowledged until the connection ends, not until UNSUBSCRIBE.
            let client = connector.once().await?;
            let subscription = client.subscribe(queue.declare_dead_letters()).await?;
            subscription.unsubscribe().await?;
            client.disconnect().await?;
        }
        self.client.subscribe(queue.subscribe(broker)).await
    }

    async fn consume(&mut self, mut subscription: Subscription) -> Ended {
        let mut acks = FuturesUnordered::<Receipt>::new();
        let mut may_warn = true;
        let next = loop {
            let delivery = tokio::select! {
                biased;
                () = self.shutdown.wished() => break Next::Stop,
                Some(receipt) = acks.next() => {
                    note(receipt);
                    continue;
                }
                delivery = subscription.next() => delivery,
            };
            let Some(delivery) = delivery else {
                break Next::Lost;
            };
            let settings = self.settings;
            let payload = Payload::new(&delivery, &settings.id_headers, &settings.consumer);
            if may_warn && is_guesswork(&payload, self.client.broker()) {
                may_warn = false;
                tracing::warn!(
                    looked_for = settings.id_headers.join(", "),
                    "messages come without an id of their writer's: the broker's message-id changes \
                     with every redelivery, so duplicates cannot be told apart"
                );
            }
            match self.handle(&delivery, &payload, &acks).await {
                Next::Message => {}
                other => break other,
            }
        };
        match next {
            Next::Lost => {
                tracing::debug!("the subscription has ended with its connection");
                Ended::Lost
            }
            Next::Abandon => {
                tracing::warn!(
                    after = ?self.settings.shutdown_timeout,
                    "a callback did not finish in time; its message is left to be delivered again"
                );
                Ended::Stopped
            }
            Next::Stop | Next::Message => {
                let farewell = async {
                    while let Some(receipt) = acks.next().await {
                        note(receipt);
                    }
                    // RabbitMQ answers an ACK after UNSUBSCRIBE with ERROR, so this comes last.
                    subscription.unsubscribe().await?;
                    self.client.disconnect().await
                };
                match timeout(FAREWELL, farewell).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(error = %error, "no orderly farewell"),
                    Err(_) => tracing::debug!("the broker did not answer the farewell"),
                }
                Ended::Stopped
            }
        }
    }

    /// Sees a message through: attempts, pauses, and the answer to the broker.
    async fn handle(
        &mut self,
        delivery: &Delivery,
        payload: &Payload,
        acks: &FuturesUnordered<Receipt>,
    ) -> Next {
        let id = payload.msg_id();
        let mut failures = 0;
        let mut pauses = ExponentialBackoff {
            initial_interval: self.settings.first_delay,
            max_interval: self.settings.longest_delay,
            max_elapsed_time: None,
            multiplier: 2.0,
            ..ExponentialBackoff::default()
        };
        pauses.reset();
        loop {
            let Some(attempt) = self.attempt(payload, failures).await else {
                return Next::Abandon;
            };
            let pause = match attempt {
                Attempt::Done => {
                    tracing::debug!(id, "done");
                    self.handled.done += 1;
                    self.outage.over();
                    acks.push(self.client.ack(delivery));
                    return Next::Message;
                }
                Attempt::Duplicate => {
                    tracing::info!(id, "received before; acknowledged without a second effect");
                    self.handled.duplicates += 1;
                    self.outage.over();
                    acks.push(self.client.ack(delivery));
                    return Next::Message;
                }
                Attempt::Discarded(reason) => {
                    tracing::warn!(id, reason, "discarded; it goes to the dead letters");
                    self.handled.discarded += 1;
                    acks.push(self.client.nack(delivery, false));
                    return Next::Message;
                }
                Attempt::Failed(error) => {
                    failures += 1;
                    let error = chain(&error);
                    if failures >= self.settings.attempts {
                        tracing::error!(
                            id,
                            attempts = failures,
                            error,
                            "given up; it goes to the dead letters"
                        );
                        self.handled.dead += 1;
                        acks.push(self.client.nack(delivery, false));
                        return Next::Message;
                    }
                    tracing::warn!(
                        id,
                        attempt = failures,
                        error,
                        "the callback failed; it is called again"
                    );
                    pauses.next_backoff().unwrap_or(self.settings.longest_delay)
                }
                Attempt::Unavailable(error) => self.outage.noticed(error.as_ref()),
            };
            tokio::select! {
                // Unanswered, so that the broker delivers it again.
                () = self.shutdown.wished() => return Next::Stop,
                _ = self.client.closed() => return Next::Lost,
                () = sleep(pause) => {}
            }
        }
    }

    /// One attempt; `None` where it is not over though the time to stop is.
    async fn attempt(&self, payload: &Payload, failures: u32) -> Option<Attempt> {
        let attempt = inbox::attempt(self.db, self.callback, payload, failures);
        tokio::pin!(attempt);
        tokio::select! {
            attempt = &mut attempt => return Some(attempt),
            () = self.shutdown.wished() => {}
        }
        match self.settings.shutdown_timeout {
            None => Some(attempt.await),
            Some(limit) => timeout(limit, attempt).await.ok(),
        }
    }
}

fn note(receipt: Result<(), StompError>) {
    if let Err(error) = receipt {
        tracing::debug!(error = %error, "an acknowledgement did not arrive; the broker delivers again");
    }
}

/// Whether the id is one that the broker makes anew for each delivery.
fn is_guesswork(payload: &Payload, broker: Broker) -> bool {
    payload.id_header() == "message-id" && broker != Broker::ActiveMq
}

/// An error and its causes, in one line.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
