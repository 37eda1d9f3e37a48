//! Answers to the broker (ACK, NACK, dead letter) until their receipts arrive.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::crash_count::{CrashCount, key};
use super::dead_letter::{self, FailureHistory};
use super::dead_letter_queue::DeadLetterQueue;
use super::job::Taken;
use super::key_lanes::Ticket;
use super::retry_send::RetrySend;
use super::settings::Settings;
use crate::backend::Backend;
use crate::config::DeadLetter;
use crate::stomp::{Client, Delivery, Error};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers whose receipts have not arrived, and the lanes that wait for them.
pub(super) struct Acks {
    waiting: FuturesUnordered<Work<Option<Ticket>>>,
    retry_send: RetrySend,
    dead_letter_queue: DeadLetterQueue,
}

impl Acks {
    pub(super) fn new(retry_send: RetrySend, dead_letter_queue: DeadLetterQueue) -> Self {
        Self {
            waiting: FuturesUnordered::new(),
            retry_send,
            dead_letter_queue,
        }
    }

    /// Acknowledges a message that had its effect. An ACK without a receipt costs the broker less; if it is
    /// lost, the message is redelivered.
    pub(super) fn acknowledge(&self, client: &Client, delivery: &Delivery, is_confirmed: bool) {
        if is_confirmed {
            let ack = client.ack(delivery);
            self.waiting.push(Box::pin(async move {
                has_arrived(ack.await);
                None
            }));
        } else {
            has_arrived(client.ack_unconfirmed(delivery));
        }
    }

    /// Moves the message to the dead letters, or does what `dead_letter` says instead. Its lane waits for the
    /// broker's receipt, so that no later message overtakes a redelivery.
    pub(super) fn move_to_dead_letters<C: Backend>(
        &self,
        client: &Client,
        mut taken: Taken,
        reason: &str,
        settings: &Settings,
        count: CrashCount<C>,
    ) {
        let delivery = taken.job.delivery.clone();
        let (client, retry_send) = (client.clone(), self.retry_send.clone());
        let queue = self.dead_letter_queue.clone();
        let dead_letter = match settings.dead_letter {
            // The broker has the whole message; our dead letter would have a part of it.
            DeadLetter::Outbox
                if !delivery.defects().is_empty()
                    && settings
                        .queue
                        .is_declared_with_dead_letters(client.broker()) =>
            {
                DeadLetter::Broker
            }
            other => other,
        };
        // While the receipt is awaited, the message must neither count as received nor stay in memory.
        let kept = taken.job.kept.take();
        let stub = delivery.stub();
        let answer: Work<bool> = match dead_letter {
            DeadLetter::Broker => Box::pin(async move {
                if !queue.is_declared(&client, &retry_send).await {
                    return false;
                }
                let nack = || client.nack(&stub, false);
                is_answered(&client, retry_send.once(&client, nack)).await
            }),
            DeadLetter::Outbox => {
                let history = FailureHistory::new(reason, &taken.job, settings);
                let frame = dead_letter::frame(&delivery, &history, client.broker());
                Box::pin(async move {
                    dead_letter::deliver(&client, &queue, (frame, kept), &stub, &retry_send).await
                })
            }
            DeadLetter::None => Box::pin(async move {
                is_answered(&client, retry_send.once(&client, || client.ack(&stub))).await
            }),
        };
        let counted = count
            .is_counted(&taken.job)
            .then(|| key(&taken.job.payload));
        let ticket = taken.ticket;
        self.waiting.push(Box::pin(async move {
            let is_over = answer.await;
            if let Some(key) = counted.filter(|_| is_over) {
                let db = count.db().clone();
                let _ = db.on_thread(move || count.forget(&key)).await;
            }
            Some(ticket)
        }));
    }

    /// The number of answers that wait for the broker.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The lane of the next answer that is done; `None` if there are no more.
    pub(super) async fn next(&mut self) -> Option<Option<Ticket>> {
        self.waiting.next().await
    }
}

/// Whether an answer has arrived, or was sent while reading pauses: then its receipt may be behind
/// messages that are read only after it. If it is lost, the message is redelivered.
pub(super) async fn is_answered(
    client: &Client,
    receipt: impl Future<Output = Result<(), Error>>,
) -> bool {
    tokio::select! {
        biased;
        receipt = receipt => has_arrived(receipt),
        () = client.is_reading_paused() => true,
    }
}

/// Whether the answer has arrived.
pub(super) fn has_arrived(receipt: Result<(), Error>) -> bool {
    if let Err(error) = &receipt {
        tracing::debug!(error = %error, "an acknowledgement did not arrive; the broker delivers again");
    }
    receipt.is_ok()
}
