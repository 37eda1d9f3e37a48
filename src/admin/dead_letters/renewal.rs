//! Sends dead letters again before RabbitMQ drops them.
//!
//! A quorum queue counts how often a message was delivered and came back (the header `x-delivery-count`), and gives it
//! up at its `delivery-limit`: 20 by default from RabbitMQ 4.0 on. A dead letter is dropped then, because its queue has
//! no dead letters of its own. Each pass over the queue counts for all messages, so a pass sends those with a high count
//! to the end of their queue, where the count begins again.

use std::collections::VecDeque;

use super::DeadLetter;
use super::error::Doubt;
use super::queue::Queue;
use crate::message::dead_letter_headers as names;
use crate::stomp::{Client, Delivery, Error, Receipt, SendFrame};

/// The count from which on a dead letter is sent again: half of RabbitMQ's default limit.
const RENEWED_FROM: u32 = 10;
/// Copies whose receipt is awaited at a time.
const WINDOW: usize = 100;

/// The dead letters that a pass sends again.
pub(super) struct Renewal {
    /// The pass.
    pass: String,
    /// A connection of its own: the broker may close it at a copy.
    client: Option<Client>,
    under_way: VecDeque<(Receipt, Delivery)>,
    /// Whether the pass has seen a dead letter with a high count.
    is_needed: bool,
    /// Whether a copy was not accepted: then no other one is sent.
    has_failed: bool,
}

impl Renewal {
    pub(super) fn new(pass: &str) -> Self {
        Self {
            pass: pass.to_owned(),
            client: None,
            under_way: VecDeque::new(),
            is_needed: false,
            has_failed: false,
        }
    }

    /// Whether there may be more dead letters to send again.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed && !self.has_failed
    }

    /// Whether this pass has sent the message again.
    pub(super) fn has_sent(&self, delivery: &Delivery) -> bool {
        delivery.header(names::RENEWAL) == Some(self.pass.as_str())
    }

    /// Sends a dead letter that stays in its queue again, if its count is high.
    pub(super) async fn keep(&mut self, reads: &Client, queue: &Queue, dead_letter: &DeadLetter) {
        let count = dead_letter.header(names::DELIVERY_COUNT);
        let count: u32 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
        if count < RENEWED_FROM {
            return;
        }
        self.is_needed = true;
        if self.has_failed {
            return;
        }
        if !dead_letter.defects().is_empty() {
            warn(queue, dead_letter.id(), &"it cannot be read as it was sent");
            return;
        }
        if let Err(error) = self.send(reads, queue, dead_letter).await {
            // The copies under way may have arrived: `finish` removes the originals of those that have.
            self.has_failed = true;
            warn(queue, dead_letter.id(), &error);
        }
    }

    async fn send(
        &mut self,
        reads: &Client,
        queue: &Queue,
        dead_letter: &DeadLetter,
    ) -> Result<(), Error> {
        let broker = reads.broker();
        let mut headers = names::copied_headers(&dead_letter.delivery, broker);
        headers.push((names::RENEWAL.to_owned(), self.pass.clone()));
        headers.push(("persistent".to_owned(), "true".to_owned()));
        let frame = SendFrame {
            destination: broker.quirks().queue_address(&queue.dead_letters),
            headers,
            body: dead_letter.delivery.body.clone(),
            not_after: None,
        };
        if Doubt::of(&frame, broker).is_some() {
            // The broker may close the connection at it.
            match alone(queue, frame).await {
                Ok(()) => reads.ack_unconfirmed(&dead_letter.delivery)?,
                Err(error) => warn(queue, dead_letter.id(), &error),
            }
            return Ok(());
        }
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(Client::connect(&queue.options).await?),
        };
        let receipt = client.send(frame);
        self.under_way
            .push_back((receipt, dead_letter.delivery.stub()));
        while self.under_way.len() >= WINDOW {
            self.settle_one(reads).await?;
        }
        Ok(())
    }

    /// Waits for the oldest copy, and removes its original.
    async fn settle_one(&mut self, reads: &Client) -> Result<(), Error> {
        if let Some((receipt, original)) = self.under_way.pop_front() {
            receipt.await?;
            reads.ack_unconfirmed(&original)?;
        }
        Ok(())
    }

    /// Waits for all copies.
    pub(super) async fn finish(&mut self, reads: &Client, queue: &Queue) {
        let mut outcome = Ok(());
        while !self.under_way.is_empty() {
            // After a failure, too: each original whose copy has arrived is removed.
            outcome = self.settle_one(reads).await.and(outcome);
        }
        if self.is_needed && outcome.is_ok() {
            // The broker has read the ACKs when it answers.
            outcome = reads.ping().await;
        }
        if let Err(error) = outcome {
            warn(queue, "", &error);
        }
        if let Some(client) = self.client.take() {
            client.abort();
        }
    }
}

/// Sends a frame on a connection of its own.
async fn alone(queue: &Queue, frame: SendFrame) -> Result<(), Error> {
    let client = Client::connect(&queue.options).await?;
    let sent = client.send(frame).await;
    client.abort();
    sent
}

fn warn(queue: &Queue, id: &str, error: &dyn std::fmt::Display) {
    tracing::warn!(
        queue = queue.dead_letters,
        id,
        error = %error,
        "a dead letter was read often and could not be sent again; RabbitMQ drops it at the delivery limit of its \
         queue: set delivery-limit to -1 (from RabbitMQ 4.0 on) in a policy for this queue"
    );
}
