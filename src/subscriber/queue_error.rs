//! Why a destination or a queue cannot be subscribed to.

/// Why a destination or a queue cannot be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The destination is empty.
    #[error("the destination is empty; name one, such as /topic/orders")]
    NoDestination,
    /// The destination or the queue's name is too long or has a control character.
    #[error("{0} is longer than 255 characters or holds a control character")]
    Unusable(&'static str),
    /// The broker does not know the destination.
    #[error("{broker} does not know the destination `{destination}`: use {accepted}")]
    UnknownDestination {
        /// The destination.
        destination: String,
        /// The broker's name.
        broker: &'static str,
        /// The destinations that it accepts.
        accepted: &'static str,
    },
    /// Two subscriptions of one process have the same queue.
    #[error("two subscriptions have the queue `{0}`: name another one, or use `workers`")]
    Twice(String),
    /// Two subscriptions of one process receive the same messages, and each message can have its effect
    /// in one of them only.
    #[error(
        "the subscriptions of `{0}` and `{1}` receive the same messages under the same consumer, and each \
         message would have its effect in one of the two only: give each its own setting `consumer` (not \
         with tables that are shared with Django), or call both functions from one callback"
    )]
    OneEffect(String, String),
    /// The destination ends with a slash, and no queue name was given.
    #[error("the destination `{0}` has no last segment to name the queue by: give a queue name")]
    NoQueue(String),
    /// The destination is a queue, and another name was given to it.
    #[error(
        "`{destination}` is the queue `{own}`, so it cannot be given the name `{given}`: leave the name \
         out; or, for a queue `{given}` of its own, subscribe to a topic: `/topic/{own} {given}` (if a \
         Django service has declared the queue with that name: `/amq/queue/{own}`)"
    )]
    OtherName {
        /// The destination.
        destination: String,
        /// The queue that it names.
        own: String,
        /// The name that was given.
        given: String,
    },
    /// The queue is a stream.
    #[error(
        "the queue `{0}` is a stream: a stream does not keep which messages a subscriber has acknowledged, so that \
         messages which arrive while no subscriber runs would be lost; use a quorum queue or a classic queue"
    )]
    Stream(String),
    /// RabbitMQ cannot send to a queue with `%2F` in its name.
    #[error(
        "RabbitMQ cannot send to a queue `{0}`, because it reads %2F as a slash: name the queue, with a \
         slash if you want one"
    )]
    Escape(String),
}
