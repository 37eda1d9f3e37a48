//! Why dead letters could not be read, sent back or deleted.

use std::time::Duration;

use crate::broker::MAX_FRAME;
use crate::stomp::{self, Broker, Error, ErrorKind, SendFrame};

/// From this many bytes on a message is sent back on a connection of its own: a broker's limit may be lower than the
/// default.
const LONG: usize = MAX_FRAME / 4;

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
    /// The broker did not accept a long message.
    #[error(
        "the message {id} was not sent back: {source}; the message has {bytes} bytes, and from version 4.0 on RabbitMQ \
         closes the connection at a frame that is longer than its setting stomp.max_frame_size ({MAX_FRAME} bytes by \
         default) and refuses a body that is longer than max_message_size (16777216 bytes); shorter messages were sent \
         back"
    )]
    TooLong {
        /// The message's id.
        id: String,
        /// The length of its frame.
        bytes: usize,
        /// The broker's answer.
        source: Error,
    },
    /// The setting `stomp_url` is wrong.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The broker failed or refused.
    #[error("the broker: {0}")]
    Broker(#[from] Error),
}

/// Why the broker may not accept a message that is sent back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doubt {
    /// It has more headers than some brokers accept.
    ManyHeaders,
    /// Its frame has this many bytes.
    Long(usize),
}

impl Doubt {
    pub(super) fn of(frame: &SendFrame, broker: Broker) -> Option<Self> {
        let most = broker.quirks().max_headers();
        if most.is_some_and(|most| frame.header_count() > most) {
            return Some(Self::ManyHeaders);
        }
        let length = frame.length();
        (length > LONG).then_some(Self::Long(length))
    }
}

impl DeadLettersError {
    /// The error of a message that the broker may not accept.
    pub(super) fn of_doubtful(self, id: String, doubt: Doubt) -> Self {
        let Self::Broker(source) = self else {
            return self;
        };
        let is_closed =
            matches!(source, Error::ConnectionLost { .. }) && source.error_frame().is_none();
        match doubt {
            Doubt::ManyHeaders if is_closed => Self::TooManyHeaders { id, source },
            Doubt::Long(bytes) if is_closed || source.error_frame().is_some() => {
                Self::TooLong { id, bytes, source }
            }
            _ => Self::Broker(source),
        }
    }

    /// Whether other messages can still be sent back.
    pub(super) fn is_about_one_message(&self) -> bool {
        matches!(self, Self::TooManyHeaders { .. } | Self::TooLong { .. })
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
