//! The questions about destinations, queues and dead letters that brokers answer differently.

use std::time::Duration;

use super::destination::Destination;

/// Headers of a frame, in their order.
pub(crate) type Headers = Vec<(String, String)>;

/// What a subscription asks of its queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscriptionNeeds<'a> {
    /// The name of the queue.
    pub(crate) queue: &'a str,
    /// Messages that the broker may deliver ahead.
    pub(crate) prefetch: u32,
    /// Whether nobody else may consume the queue.
    pub(crate) exclusive: bool,
    /// The topic's name, if the destination is a topic.
    pub(crate) topic: Option<&'a str>,
}

/// How a broker treats destinations, queues and dead letters. Measurements: docs/brokers.md.
///
/// No method has a default, so that a new quirk is answered for each broker.
pub(crate) trait Quirks: Sync {
    /// The broker's name, for errors.
    fn name(&self) -> &'static str;

    /// The destinations that the broker accepts, for errors.
    fn accepted_destinations(&self) -> &'static str;

    /// Whether the broker knows the destination, as far as its text shows.
    fn knows(&self, destination: Destination<'_>) -> bool;

    /// Whether a message can be sent to a queue of this name.
    fn can_address(&self, queue: &str) -> bool;

    /// The address of a queue that exists. No queue is declared by using it.
    fn queue_address(&self, queue: &str) -> String;

    /// The address to which a dead letter of the queue is sent back; `sent_to` is the destination of
    /// the original message.
    fn return_address(&self, queue: &str, sent_to: Option<&str>) -> String;

    /// Whether `message-id` is the same at each redelivery.
    fn has_stable_message_id(&self) -> bool;

    /// Whether each redelivery of a topic's message has the header `redelivered`.
    fn marks_redeliveries_of_topics(&self) -> bool;

    /// Whether a message may be sent with the `user-id` of another user.
    fn accepts_foreign_user_id(&self) -> bool;

    /// The maximum number of headers with different names in a frame that is sent, if some versions have one. They
    /// close the connection at a frame with more, without an ERROR.
    fn max_headers(&self) -> Option<usize>;

    /// The header by which a message expires after this time.
    fn expiry(&self, after: Duration) -> (String, String);

    /// The headers of SUBSCRIBE for a subscription of `subscribe`.
    fn subscription_headers(&self, needs: &SubscriptionNeeds<'_>) -> Headers;

    /// The headers of SUBSCRIBE for a reader that gets all messages of a queue without an ACK.
    fn reader_headers(&self) -> Headers;

    /// The headers of SUBSCRIBE for a subscription that watches whether a queue exists and leaves its
    /// messages to others; `None` if the broker creates a queue that does not exist.
    fn watcher_headers(&self) -> Option<Headers>;

    /// The address and the headers of SUBSCRIBE that declare the dead-letter queue of `queue`; `None`
    /// if the broker's queues have no arguments and need no declaration.
    fn dead_letter_declaration(&self, queue: &str) -> Option<(String, Headers)>;

    /// Whether this header of a declaration is an argument of the queue, so that a SEND which
    /// declares the queue has it too.
    fn is_queue_argument(&self, header: &str) -> bool;

    /// The queue in which the broker puts messages that a subscriber of `queue` rejects.
    fn rejected_queue(&self, queue: &str) -> String;

    /// Whether rejected messages are kept even if the queue was declared without dead letters.
    fn always_keeps_rejected(&self) -> bool;
}

/// The name of the dead-letter queue of a queue, as in django-outbox-pattern.
pub(crate) fn dead_letter_queue(queue: &str) -> String {
    format!("DLQ.{queue}")
}

/// Headers with owned names.
pub(super) fn owned<const N: usize>(headers: [(&str, String); N]) -> Headers {
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
