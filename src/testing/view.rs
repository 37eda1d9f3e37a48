//! A test's view of the broker.

use bytes::Bytes;

use super::core::Core;
use super::queue::QueuedMessage;

/// A SEND that the broker accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentMessage {
    /// The destination.
    pub destination: String,
    /// All headers of the frame.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
    /// The number of its connection.
    pub connection: u64,
}

impl SentMessage {
    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// A snapshot of the broker.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(pub(super) &'a Core);

impl<'a> View<'a> {
    /// All accepted SENDs in order, whether a queue received them or not.
    #[must_use]
    pub fn sent(&self) -> &'a [SentMessage] {
        &self.0.sent
    }

    /// The number of messages of a queue that wait for a subscriber; 0 if the queue does not exist.
    #[must_use]
    pub fn ready(&self, queue: &str) -> usize {
        self.0
            .queues
            .get(queue)
            .map_or(0, |queue| queue.ready.len())
    }

    /// The number of messages of a queue that are delivered and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, queue: &str) -> usize {
        self.0.unacknowledged(queue)
    }

    /// The messages of a queue that wait for a subscriber.
    pub fn messages(&self, queue: &str) -> impl Iterator<Item = &'a QueuedMessage> {
        let queue = self.0.queues.get(queue);
        queue.into_iter().flat_map(|queue| &queue.ready)
    }

    /// Whether a queue with this name exists.
    #[must_use]
    pub fn has_queue(&self, queue: &str) -> bool {
        self.0.queues.contains_key(queue)
    }

    /// The number of messages that were deleted with queues of this name.
    #[must_use]
    pub fn deleted(&self, queue: &str) -> usize {
        self.0.deleted.get(queue).copied().unwrap_or(0)
    }

    /// The number of logged-in connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.len()
    }

    /// The number of logins since the start.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.0.logins
    }

    /// The number of subscriptions to a queue.
    #[must_use]
    pub fn subscriptions(&self, queue: &str) -> usize {
        self.0
            .queues
            .get(queue)
            .map_or(0, |queue| queue.subscribers.len())
    }
}
