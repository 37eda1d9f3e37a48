//! What a test may see of the broker.

use bytes::Bytes;

use super::core::Core;
use super::queue::Stored;

/// A SEND that the broker took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Where it went.
    pub destination: String,
    /// All its headers, those of the frame among them.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
    /// The number of the connection that it came over.
    pub connection: u64,
}

impl Sent {
    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// The broker at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(pub(super) &'a Core);

impl<'a> View<'a> {
    /// All SENDs that were taken, in their order, whether a queue got them or not.
    #[must_use]
    pub fn sent(&self) -> &'a [Sent] {
        &self.0.sent
    }

    /// Messages of a queue that wait for a subscriber; 0 where there is no such queue.
    #[must_use]
    pub fn ready(&self, queue: &str) -> usize {
        self.0
            .queues
            .get(queue)
            .map_or(0, |queue| queue.ready.len())
    }

    /// Messages of a queue that were handed over and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, queue: &str) -> usize {
        self.0.unacknowledged(queue)
    }

    /// The messages of a queue that wait for a subscriber.
    pub fn messages(&self, queue: &str) -> impl Iterator<Item = &'a Stored> {
        let queue = self.0.queues.get(queue);
        queue.into_iter().flat_map(|queue| &queue.ready)
    }

    /// Whether there is a queue of this name.
    #[must_use]
    pub fn has_queue(&self, queue: &str) -> bool {
        self.0.queues.contains_key(queue)
    }

    /// Messages that were deleted with queues of this name.
    #[must_use]
    pub fn deleted(&self, queue: &str) -> usize {
        self.0.deleted.get(queue).copied().unwrap_or(0)
    }

    /// Connections that are logged in.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.len()
    }

    /// Connections that have logged in since the start.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.0.logins
    }

    /// Subscriptions of a queue.
    #[must_use]
    pub fn subscriptions(&self, queue: &str) -> usize {
        self.0
            .queues
            .get(queue)
            .map_or(0, |queue| queue.subscribers.len())
    }
}
