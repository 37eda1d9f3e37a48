//! The subject of an ERROR frame, from the broker's texts.

use super::{activemq, rabbitmq};

/// The subject of an ERROR, as far as its text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user or the password was refused.
    RefusedLogin,
    /// The virtual host does not exist, or the user has no access to it.
    RefusedVirtualHost,
    /// The broker does not know the destination, or does not permit its use.
    RefusedDestination,
    /// The queue exists with other arguments.
    DeclaredOtherwise,
    /// The queue does not exist, and the virtual host or the cluster may have no further one.
    TooManyQueues,
    /// The broker refuses the frame for another reason that its text names, such as the value of the header
    /// `expiration`.
    PreconditionFailed,
    /// Queues of this type do not have one of the arguments, such as dead letters of a stream.
    InvalidArgument,
    /// The message is longer than the broker accepts.
    MessageTooLarge,
    /// An exchange or a queue does not exist.
    NotFound,
    /// Another connection uses the client id, by which ActiveMQ identifies durable subscriptions.
    ClientIdInUse,
    /// The broker ended a subscription, usually because its queue was deleted.
    Cancelled,
    /// The broker has failed to process the frame (`Processing error`), for example because it cannot read a header's
    /// value. Measured on RabbitMQ 4.3.6: about one of 400 SENDs that declare a queue with other arguments gets this
    /// before [`DeclaredOtherwise`](Self::DeclaredOtherwise). An ERROR that follows on the same connection replaces it.
    Internal,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The subject of an ERROR with this `message` header and body. An ERROR that refuses a login
    /// does not say which broker sends it, so the texts of all brokers are compared.
    pub(crate) fn of(message: &str, body: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let body = body.to_ascii_lowercase();
        rabbitmq::error_kind(&message, &body)
            .or_else(|| activemq::error_kind(&message, &body))
            .unwrap_or(Self::Other)
    }

    /// What to do about it, in parentheses; empty if the broker's text says it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::RefusedLogin => " (check the user and the password in STOMP_URL)",
            Self::RefusedVirtualHost => {
                " (check the virtual host, which is the path of STOMP_URL, and how many connections it and the user \
                 may have)"
            }
            Self::DeclaredOtherwise => {
                " (the queue exists with other arguments: delete it, or use the same ones)"
            }
            Self::TooManyQueues => {
                " (raise the virtual host's limit max-queues, or delete queues that nobody needs)"
            }
            Self::MessageTooLarge => {
                " (raise max_message_size in RabbitMQ's configuration, or send a shorter message)"
            }
            Self::ClientIdInUse => {
                " (another subscriber has this queue of this topic, and ActiveMQ lets in one at a \
                 time: this one waits for its turn; for several, use a virtual topic)"
            }
            Self::RefusedDestination
            | Self::InvalidArgument
            | Self::PreconditionFailed
            | Self::NotFound
            | Self::Cancelled
            | Self::Internal
            | Self::Other => "",
        }
    }
}
