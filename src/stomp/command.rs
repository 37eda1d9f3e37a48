//! What the handles ask of the task that owns the socket.

use std::fmt;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::broker::Broker;
use super::dialect::Dialect;
use super::encoder::{EncodeError, check};
use super::error::{Error, NotSentReason};
use super::subscription::{AckId, Subscribe};
use super::untaken::Deliveries;
use super::version::Version;

/// What the client sets itself, and what a SEND cannot have.
const OF_SEND: &[&str] = &[
    "destination",
    "receipt",
    "content-length",
    "transaction",
    "message-id",
];
const OF_SUBSCRIBE: &[&str] = &["destination", "receipt", "content-length", "id", "ack"];

/// A message to send.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SendFrame {
    /// Where to.
    pub destination: String,
    /// Further headers. Those that the client sets itself are refused, `destination`, `receipt`,
    /// `content-length`, and so are `transaction`, since there are none, and `message-id`, which
    /// the broker gives (RabbitMQ answers it with ERROR).
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// From then on nothing of the frame is to be written any more: a lease has ended. What the
    /// system has not taken of it by then is not written, and as no frame can follow a part of
    /// another one, the connection is closed. With TLS, what TLS holds back counts as not
    /// written.
    pub not_after: Option<Instant>,
}

impl SendFrame {
    /// A frame without further headers.
    pub fn new(destination: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            destination: destination.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// Appends a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

// A body may be a customer's.
impl fmt::Debug for SendFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFrame")
            .field("destination", &self.destination)
            .field("headers", &self.headers)
            .field("bytes", &self.body.len())
            .field("not_after", &self.not_after)
            .finish()
    }
}

pub(super) type Responder = oneshot::Sender<Result<(), Error>>;

#[derive(Debug)]
pub(super) enum Command {
    /// A frame, and who waits for its receipt.
    Frame(Content, Option<Responder>),
    /// End at once.
    Abort,
}

/// A frame as it is before it has a receipt.
#[derive(Debug)]
pub(super) enum Content {
    Send(SendFrame),
    Subscribe {
        id: String,
        subscribe: Subscribe,
        deliveries: Deliveries,
    },
    Unsubscribe {
        id: String,
    },
    Ack {
        id: AckId,
        /// Whether its receipt is asked for.
        is_confirmed: bool,
    },
    Nack {
        id: AckId,
        requeue: bool,
    },
    /// BEGIN and ABORT of an empty transaction.
    Ping {
        transaction: String,
    },
    Disconnect,
}

impl Content {
    /// Whether the broker is asked for a receipt.
    pub(super) fn has_receipt(&self) -> bool {
        !matches!(
            self,
            Self::Ack {
                is_confirmed: false,
                ..
            }
        )
    }

    /// Whether this version of STOMP can carry it, and this broker take it.
    pub(super) fn check(&self, dialect: Dialect, broker: Broker) -> Result<(), NotSentReason> {
        let (destination, headers, reserved) = match self {
            Self::Send(frame) => (&frame.destination, &frame.headers, OF_SEND),
            Self::Subscribe { subscribe, .. } => {
                (&subscribe.destination, &subscribe.headers, OF_SUBSCRIBE)
            }
            // The peer's own text, in which our decoder allows anything.
            Self::Ack { id, .. } => return Ok(check_text(dialect.ack_header(), &id.id, dialect)?),
            Self::Nack { id, .. } => {
                let has_nack = dialect.version() > Version::V1_0
                    || matches!(broker, Broker::RabbitMq | Broker::Loopback);
                if !has_nack {
                    return Err(NotSentReason::NoNack);
                }
                return Ok(check_text(dialect.ack_header(), &id.id, dialect)?);
            }
            Self::Unsubscribe { .. } | Self::Ping { .. } | Self::Disconnect => return Ok(()),
        };
        check_text("destination", destination, dialect)?;
        for (name, value) in headers {
            if reserved.contains(&name.as_str()) {
                return Err(NotSentReason::ReservedHeader { name: name.clone() });
            }
            check_text(name, value, dialect)?;
        }
        Ok(())
    }
}

fn check_text(name: &str, value: &str, dialect: Dialect) -> Result<(), EncodeError> {
    check(name.as_bytes(), value.as_bytes(), dialect.written)
}
