//! What the broker is told of messages, until it has heard it.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Settings;
use super::count::{Count, key};
use super::dead_letter::{self, Story};
use super::job::Taken;
use super::lanes::Ticket;
use super::letters::Letters;
use super::patience::Patience;
use crate::backend::Backend;
use crate::config::DeadLetter;
use crate::stomp::{Client, Delivery, Error};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers whose receipts are still to come, and lanes that wait for them.
pub(super) struct Answers {
    waiting: FuturesUnordered<Work<Option<Ticket>>>,
    patience: Patience,
    letters: Letters,
}

impl Answers {
    pub(super) fn new(patience: Patience, letters: Letters) -> Self {
        Self {
            waiting: FuturesUnordered::new(),
            patience,
            letters,
        }
    }

    /// The message had its effect. An ACK without a receipt costs the broker less; one that is lost
    /// shows in a redelivery.
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

    /// The message goes to the dead letters, or what takes their place. Its lane waits for the
    /// broker's receipt: should it come again after all, nothing has overtaken it.
    pub(super) fn give_up<C: Backend>(
        &self,
        client: &Client,
        mut taken: Taken,
        reason: &str,
        settings: &Settings,
        count: Count<C>,
    ) {
        let delivery = taken.job.delivery.clone();
        let (client, patience) = (client.clone(), self.patience.clone());
        let letters = self.letters.clone();
        let dead_letter = match settings.dead_letter {
            // The broker has all of it, and a letter of ours had less.
            DeadLetter::Outbox
                if !delivery.defects().is_empty() && settings.queue.buries(client.broker()) =>
            {
                DeadLetter::Broker
            }
            other => other,
        };
        // What waits for a receipt must not keep it from being read, nor its body in memory.
        let kept = taken.job.kept.take();
        let stub = delivery.stub();
        let answer: Work<bool> = match dead_letter {
            DeadLetter::Broker => Box::pin(async move {
                if !letters.are_declared(&client, &patience).await {
                    return false;
                }
                let nack = || client.nack(&stub, false);
                is_heard(&client, patience.once(&client, nack)).await
            }),
            DeadLetter::Outbox => {
                let story = Story::new(reason, &taken.job, settings);
                let letter = dead_letter::frame(&delivery, &story, client.broker());
                Box::pin(async move {
                    dead_letter::deliver(&client, &letters, (letter, kept), &stub, &patience).await
                })
            }
            DeadLetter::None => Box::pin(async move {
                is_heard(&client, patience.once(&client, || client.ack(&stub))).await
            }),
        };
        let counted = count.concerns(&taken.job).then(|| key(&taken.job.payload));
        let ticket = taken.ticket;
        self.waiting.push(Box::pin(async move {
            let is_over = answer.await;
            if let Some(key) = counted.filter(|_| is_over) {
                let db = count.db().clone();
                let _ = db.apart(move || count.forget(&key)).await;
            }
            Some(ticket)
        }));
    }

    /// How many of them there are.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The lane of the next one that was heard; `None` where there are no more.
    pub(super) async fn next(&mut self) -> Option<Option<Ticket>> {
        self.waiting.next().await
    }
}

/// Whether an answer has arrived, or is on its way where its receipt would be behind messages that are
/// not read before those are handled which wait for it. What is lost then shows in a redelivery.
pub(super) async fn is_heard(
    client: &Client,
    receipt: impl Future<Output = Result<(), Error>>,
) -> bool {
    tokio::select! {
        biased;
        receipt = receipt => has_arrived(receipt),
        () = client.is_held_up() => true,
    }
}

/// Whether an answer has arrived.
pub(super) fn has_arrived(receipt: Result<(), Error>) -> bool {
    if let Err(error) = &receipt {
        tracing::debug!(error = %error, "an acknowledgement did not arrive; the broker delivers again");
    }
    receipt.is_ok()
}
