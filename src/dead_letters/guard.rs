//! Whether the queue that letters go back to is still there.

use super::{DeadLetters, DeadLettersError, no_queue};
use crate::stomp::{Broker, Client, Subscribe, Subscription};

/// A subscription to the queue. RabbitMQ takes a message for a queue that is not there, gives its
/// receipt, and drops it; a subscription learns of its queue's end.
pub(super) struct Guard {
    client: Client,
    _subscription: Subscription,
}

impl Guard {
    /// That of the queue which these letters were given up from; none where the broker makes a queue
    /// that is not there.
    pub(super) async fn of(letters: &DeadLetters) -> Result<Option<Self>, DeadLettersError> {
        if letters.writes.broker() == Broker::ActiveMq {
            return Ok(None);
        }
        let client = Client::connect(&letters.options).await?;
        let subscribe = Subscribe {
            destination: letters.address(&letters.queue),
            headers: vec![
                ("prefetch-count".to_owned(), "1".to_owned()),
                // Whoever handles the queue's messages comes first.
                ("x-priority".to_owned(), "-1000".to_owned()),
            ],
        };
        match client.subscribe(subscribe).await {
            Ok(subscription) => Ok(Some(Self {
                client,
                _subscription: subscription,
            })),
            Err(error) => {
                client.abort();
                Err(no_queue(error, &letters.queue))
            }
        }
    }

    /// Whether the queue was there up to now.
    pub(super) async fn is_there(&self, queue: &str) -> Result<(), DeadLettersError> {
        let answer = self.client.ping().await;
        answer.map_err(|_| DeadLettersError::QueueGone(queue.to_owned()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // What it was given goes back.
        self.client.abort();
    }
}
