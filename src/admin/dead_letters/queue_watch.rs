//! Watches whether the queue that messages are sent back to exists.

use super::DeadLettersError;
use super::error::no_queue;
use crate::stomp::{Client, Options, Subscribe, Subscription};

/// A subscription to the queue. RabbitMQ accepts a message for a queue that does not exist, sends its receipt and
/// drops it; a subscription ends with its queue.
pub(super) struct QueueWatch {
    client: Client,
    queue: String,
    _subscription: Subscription,
}

impl QueueWatch {
    /// Watches a queue; none if the broker creates a queue that does not exist.
    pub(super) async fn begin(
        options: &Options,
        queue: &str,
    ) -> Result<Option<Self>, DeadLettersError> {
        let client = Client::connect(options).await?;
        let quirks = client.broker().quirks();
        let Some(headers) = quirks.watcher_headers() else {
            client.abort();
            return Ok(None);
        };
        let subscribe = Subscribe {
            destination: quirks.queue_address(queue),
            headers,
        };
        match client.subscribe(subscribe).await {
            Ok(subscription) => Ok(Some(Self {
                client,
                queue: queue.to_owned(),
                _subscription: subscription,
            })),
            Err(error) => {
                client.abort();
                Err(no_queue(error, queue))
            }
        }
    }

    /// Fails if the queue was deleted up to now.
    pub(super) async fn check(&self) -> Result<(), DeadLettersError> {
        let answer = self.client.ping().await;
        answer.map_err(|_| DeadLettersError::QueueGone(self.queue.clone()))
    }
}

impl Drop for QueueWatch {
    fn drop(&mut self) {
        // Messages that it received go back to the queue.
        self.client.abort();
    }
}
