//! Commands from the handles to the task that owns the socket.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dialect::Dialect;
use super::encoder::{EncodeError, check};
use super::error::{Error, NotSentReason};
use super::receive_budget::DeliverySender;
use super::subscription::{AckId, Subscribe};
use super::version::Version;
use crate::broker::Broker;

/// Headers that the client sets itself or that a SEND cannot have.
const OF_SEND: &[&str] = &[
    "destination",
    "receipt",
    "content-length",
    "transaction",
    "message-id",
];
/// Headers that the client sets in SUBSCRIBE itself.
pub(crate) const OF_SUBSCRIBE: &[&str] = &["destination", "receipt", "content-length", "id", "ack"];

/// A message to send.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SendFrame {
    /// The destination.
    pub destination: String,
    /// Additional headers. `destination`, `receipt` and `content-length` are refused because the
    /// client sets them; `transaction` because the client has no transactions; `message-id` because
    /// the broker assigns it (RabbitMQ answers it with ERROR).
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The time after which nothing of the frame may be written, usually the end of a lease. If the
    /// operating system has not accepted the whole frame by then, the rest is not written. The
    /// connection is closed if a part was written, because no frame can follow an incomplete one.
    /// With TLS, bytes in TLS's buffer count as not written.
    pub not_after: Option<Instant>,
}

impl SendFrame {
    /// A frame without additional headers.
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

    /// The number of headers with different names, those that the client adds included.
    pub(crate) fn header_count(&self) -> usize {
        const OF_THE_CLIENT: usize = 3; // destination, receipt, content-length
        let names: HashSet<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.len() + OF_THE_CLIENT
    }

    /// The number of bytes on the wire, as far as the frame shows: without escapes and without what the client adds.
    pub(crate) fn length(&self) -> usize {
        let line = |name: &str, value: &str| name.len() + value.len() + ":\n".len();
        let headers = self.headers.iter().map(|(name, value)| line(name, value));
        headers.sum::<usize>() + line("destination", &self.destination) + self.body.len()
    }
}

// Not derived: a body may contain personal data.
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
    /// A frame, and the sender for its receipt.
    Frame(Checked, Option<Responder>),
    /// Close at once.
    Abort,
}

/// A frame that the STOMP version of its connection can carry and its broker accepts. Only
/// [`Content::check`] makes one, so its headers are not checked again when it is encoded.
#[derive(Debug)]
pub(super) struct Checked(Content);

impl Checked {
    /// A DISCONNECT, which has no text to check.
    pub(super) fn disconnect() -> Self {
        Self(Content::Disconnect)
    }

    pub(super) fn content(&self) -> &Content {
        &self.0
    }

    pub(super) fn into_content(self) -> Content {
        self.0
    }
}

/// A frame before it has a receipt's number.
#[derive(Debug)]
pub(super) enum Content {
    Send(SendFrame),
    Subscribe {
        id: String,
        subscribe: Subscribe,
        deliveries: DeliverySender,
    },
    Unsubscribe {
        id: String,
    },
    /// NACKs of a transaction, UNSUBSCRIBE, and the COMMIT.
    UnsubscribeAndReturn {
        id: String,
        returned: Vec<AckId>,
    },
    Ack {
        id: AckId,
        /// Whether to ask for a receipt.
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
    /// Whether the frame asks the broker for a receipt.
    pub(super) fn has_receipt(&self) -> bool {
        !matches!(
            self,
            Self::Ack {
                is_confirmed: false,
                ..
            }
        )
    }

    /// Checks that this STOMP version can carry the frame and that this broker accepts it.
    pub(super) fn check(self, dialect: Dialect, broker: Broker) -> Result<Checked, NotSentReason> {
        self.check_all(dialect, broker)?;
        Ok(Checked(self))
    }

    fn check_all(&self, dialect: Dialect, broker: Broker) -> Result<(), NotSentReason> {
        let (destination, headers, reserved) = match self {
            Self::Send(frame) => (&frame.destination, &frame.headers, OF_SEND),
            Self::Subscribe { subscribe, .. } => {
                (&subscribe.destination, &subscribe.headers, OF_SUBSCRIBE)
            }
            // The id is the broker's own text, which the decoder accepts with any characters. The
            // subscription is this client's: a MESSAGE with another one is discarded.
            Self::Ack { id, .. } => return Ok(check_text(dialect.ack_header(), &id.id, dialect)?),
            Self::UnsubscribeAndReturn { returned, .. } => {
                for id in returned {
                    check_text(dialect.ack_header(), &id.id, dialect)?;
                }
                return Ok(());
            }
            Self::Nack { id, .. } => {
                let has_nack =
                    dialect.version() > Version::V1_0 || broker.protocol().has_nack_in_1_0;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_outbox_has_no_header_that_a_send_cannot_have() {
        for name in OF_SEND {
            assert!(crate::headers::RESERVED.contains(name), "{name}");
        }
    }
}
