//! One pass over a queue of dead letters.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::DeadLetter;
use super::error::{DeadLettersError, no_queue};
use super::queue::Queue;
use super::renewal::Renewal;
use crate::message::dead_letter_headers as names;
use crate::stomp::{Client, Delivery, Error, Options, SendFrame, Subscribe, Subscription};

/// Names the pass that a marker belongs to. The body says the same, so that no message is taken for
/// one because of its headers.
const MARKER: &str = "outbox-marker";
/// The broker drops a marker that was not received in this time.
const MARKER_LIFE: Duration = Duration::from_secs(60);
/// How long messages that an earlier pass left may take to be back in their queue.
pub(super) const RETURN: Duration = Duration::from_secs(5);
/// Between two checks whether they are.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A pass over the messages that were there when it began, on connections of its own: what it does not
/// acknowledge goes back when they end.
pub(super) struct Reading<'a> {
    queue: &'a Queue,
    reads: Client,
    /// On this one a receipt does not come behind all the messages.
    writes: Client,
    subscription: Subscription,
    marker: String,
    /// Messages that are still to come, because an earlier pass saw them.
    expected: usize,
    /// When those are no longer waited for.
    until: Instant,
    renewal: Renewal,
}

impl<'a> Reading<'a> {
    /// Begins a pass. `expected` messages were left by one that ended just now.
    pub(super) async fn begin(queue: &'a Queue, expected: usize) -> Result<Self, DeadLettersError> {
        let reads = Client::connect(&queue.options).await?;
        let writes = Client::connect(&queue.options).await?;
        let quirks = reads.broker().quirks();
        let subscribe = Subscribe {
            destination: quirks.queue_address(&queue.dead_letters),
            headers: quirks.reader_headers(),
        };
        let subscribed = reads.subscribe(subscribe).await;
        let subscription = subscribed.map_err(|error| no_queue(error, &queue.dead_letters))?;
        let marker = Uuid::new_v4().to_string();
        let reading = Self {
            queue,
            reads,
            writes,
            subscription,
            renewal: Renewal::new(&marker),
            marker,
            expected,
            until: Instant::now() + RETURN,
        };
        reading.mark().await?;
        Ok(reading)
    }

    /// How to connect once more.
    pub(super) fn options(&self) -> &Options {
        &self.queue.options
    }

    /// The connection for what is sent.
    pub(super) fn writes(&self) -> &Client {
        &self.writes
    }

    /// The connection for what is read.
    pub(super) fn reads(&self) -> &Client {
        &self.reads
    }

    /// Sends a marker behind what is there.
    async fn mark(&self) -> Result<(), DeadLettersError> {
        let quirks = self.writes.broker().quirks();
        let (expiry, value) = quirks.expiry(MARKER_LIFE);
        let address = quirks.queue_address(&self.queue.dead_letters);
        let frame = SendFrame::new(address, self.marker.clone())
            .header(MARKER, &self.marker)
            .header("persistent", "false")
            // Queues with priorities deliver it behind what is there.
            .header("priority", "0")
            .header(expiry, value);
        Ok(self.writes.send(frame).await?)
    }

    /// The next message; none at the end of what was there.
    pub(super) async fn next(&mut self) -> Result<Option<DeadLetter>, DeadLettersError> {
        let limit = self.queue.patience;
        loop {
            let delivery = tokio::time::timeout(limit, self.subscription.next())
                .await
                .map_err(|_| DeadLettersError::NoEnd {
                    queue: self.queue.dead_letters.clone(),
                    after: limit,
                })?;
            let Some(delivery) = delivery else {
                return Err(DeadLettersError::Lost(self.why_ended().await));
            };
            if self.renewal.has_sent(&delivery) {
                continue;
            }
            let Some(marker) = marker_of(&delivery) else {
                self.expected = self.expected.saturating_sub(1);
                return Ok(Some(DeadLetter::new(delivery, &self.queue.id_headers)));
            };
            let is_ours = marker == self.marker;
            self.reads.ack_unconfirmed(&delivery)?;
            if !is_ours {
                continue;
            }
            if self.expected == 0 || Instant::now() >= self.until {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            self.mark().await?;
        }
    }

    /// Leaves a dead letter in its queue, at the end of it if RabbitMQ would drop it after some more passes.
    pub(super) async fn leave(&mut self, dead_letter: &DeadLetter) {
        self.renewal
            .keep(&self.reads, self.queue, dead_letter)
            .await;
    }

    /// Leaves the rest of the queue in it, as [`leave`](Self::leave) does.
    pub(super) async fn leave_rest(&mut self) {
        while self.renewal.is_needed() {
            match self.next().await {
                Ok(Some(dead_letter)) => self.leave(&dead_letter).await,
                Ok(None) => return,
                Err(error) => {
                    return tracing::warn!(error = %error, "the rest of the dead letters was not read");
                }
            }
        }
    }

    /// A dead letter as the message that it was.
    pub(super) fn original(&self, dead_letter: &DeadLetter) -> SendFrame {
        let broker = self.writes.broker();
        let was_sent_to = ["original-destination", names::DESTINATION];
        let sent_to = was_sent_to.iter().find_map(|name| dead_letter.header(name));
        let quirks = broker.quirks();
        let destination = quirks.return_address(&self.queue.name, sent_to);
        let mut headers = names::own_headers(&dead_letter.delivery, broker);
        headers.push(("persistent".to_owned(), "true".to_owned()));
        SendFrame {
            destination,
            headers,
            body: dead_letter.delivery.body.clone(),
            not_after: None,
        }
    }

    /// Closes the connections; what was not acknowledged goes back to its queue.
    pub(super) async fn close(mut self) {
        self.renewal.finish(&self.reads, self.queue).await;
        for client in [self.reads, self.writes] {
            if let Err(error) = client.disconnect().await {
                tracing::debug!(error = %error, "the connection was not closed in order");
            }
        }
    }

    /// Why the subscription ended. An ERROR ends a subscription before it ends the connection.
    async fn why_ended(&self) -> Error {
        match tokio::time::timeout(self.queue.patience, self.reads.closed()).await {
            Ok(error) => error,
            Err(_) => Error::Closed,
        }
    }
}

/// The pass that a marker belongs to, if the message is one.
fn marker_of(delivery: &Delivery) -> Option<&str> {
    let marker = delivery.header(MARKER)?;
    let is_marker = marker.as_bytes() == &delivery.body[..] && Uuid::try_parse(marker).is_ok();
    is_marker.then_some(marker)
}
