//! Why dead letters could not be read, sent back or deleted.

use std::time::Duration;

use crate::stomp::{self, Error, ErrorKind};

/// Why dead letters could not be read, sent back or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLettersError {
    /// The destination is not that of a queue.
    #[error(
        "`{0}` is not a queue, and each of its subscribers has a queue of its own: name that queue"
    )]
    NotAQueue(String),
    /// The queue does not exist.
    #[error("there is no queue {0}: no message was moved to it yet, or it has another name")]
    NoQueue(String),
    /// The queue that messages were sent back to was deleted in the meantime, or the connection was lost.
    #[error(
        "the queue {0} was deleted meanwhile, or its broker is not available; the messages that were not sent back \
         before are still dead letters"
    )]
    QueueGone(String),
    /// The end of the queue was not reached in time.
    #[error(
        "the end of the queue {queue} was not reached within {after:?}; if it has another consumer, that one \
         takes messages from this one: stop it"
    )]
    NoEnd {
        /// The queue.
        queue: String,
        /// The time limit, `receipt_timeout`.
        after: Duration,
    },
    /// The subscription to the dead letters ended.
    #[error(
        "the subscription to the dead letters ended; what was not sent back or deleted is still there: {0}"
    )]
    Lost(#[source] Error),
    /// The broker closed the connection at a message with many headers.
    #[error(
        "the message {id} was not sent back: the broker closed the connection, and the message has more than 100 \
         headers, which RabbitMQ 4.3 does not accept unless `max_headers` of rabbitmq_stomp is set in \
         advanced.config; messages with fewer headers were sent back"
    )]
    TooManyHeaders {
        /// The message's id.
        id: String,
        /// How the connection ended.
        source: Error,
    },
    /// The setting `stomp_url` is wrong.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The broker failed or refused.
    #[error("the broker: {0}")]
    Broker(#[from] Error),
}

impl DeadLettersError {
    /// The error of a message with more headers than some brokers accept.
    pub(super) fn of_many_headers(self, id: String) -> Self {
        match self {
            Self::Broker(source)
                if matches!(source, Error::ConnectionLost { .. })
                    && source.error_frame().is_none() =>
            {
                Self::TooManyHeaders { id, source }
            }
            other => other,
        }
    }
}

/// Maps an error that says that the queue does not exist.
pub(super) fn no_queue(error: Error, queue: &str) -> DeadLettersError {
    let is_missing = error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::NotFound);
    if is_missing {
        DeadLettersError::NoQueue(queue.to_owned())
    } else {
        error.into()
    }
}
