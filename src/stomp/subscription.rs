//! Subscriptions and received messages.

use std::fmt;

use bytes::Bytes;

use super::client::Outbound;
use super::command::Content;
use super::defect::Defect;
use super::error::{Error, NotSentReason};
use super::frame::Frame;
use super::headers::Headers;
use super::receipt::Receipt;
use super::receive_budget::{DeliveryReceiver, Kept};
use super::version::Version;

/// The parameters of a SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// The destination of the messages.
    pub destination: String,
    /// Additional headers, such as `prefetch-count`. `id`, `ack`, `destination`, `receipt` and
    /// `content-length` are refused because the client sets them.
    pub headers: Vec<(String, String)>,
}

/// A subscription. Dropping it stops the forwarding of messages but sends no UNSUBSCRIBE, because
/// RabbitMQ refuses ACKs that follow one. The broker keeps unacknowledged messages until the
/// connection ends.
#[derive(Debug)]
pub struct Subscription {
    pub(super) id: String,
    pub(super) receiver: DeliveryReceiver,
    pub(super) outbound: Outbound,
}

impl Subscription {
    /// Returns the next message; `None` if the connection or the subscription has ended.
    /// Cancel-safe: no message is lost.
    ///
    /// A `prefetch-count` in SUBSCRIBE limits how many messages wait here. If a broker ignores it,
    /// the socket is not read while the messages exceed
    /// [`Options::receive_budget`](super::Options::receive_budget).
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_kept().await.map(|(delivery, _)| delivery)
    }

    /// As [`next`](Self::next), but the message counts against the receive budget until the second
    /// value is dropped. Drop it before waiting for a receipt on this connection: the receipt may
    /// be behind messages that are not read while the budget is used up.
    pub(crate) async fn next_kept(&mut self) -> Option<(Delivery, Kept)> {
        self.receiver.next().await
    }

    /// The subscription's id: the `subscription` header of its messages.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends UNSUBSCRIBE. The subscription ends when the receipt arrives; [`next`](Self::next)
    /// still returns messages received before. Acknowledge first: RabbitMQ answers a later ACK with
    /// ERROR.
    pub fn unsubscribe(&self) -> Receipt {
        self.outbound.queue(Content::Unsubscribe {
            id: self.id.clone(),
        })
    }

    /// As [`unsubscribe`](Self::unsubscribe), and returns messages of this subscription to the broker: their NACKs are in a
    /// transaction (STOMP 1.2, "NACK"), and its COMMIT follows the UNSUBSCRIBE, so that the broker does not deliver them
    /// here again in between. The receipt is that of COMMIT.
    pub(crate) fn unsubscribe_and_return(&self, deliveries: &[Delivery]) -> Receipt {
        let version = self.outbound.version();
        let ids = deliveries.iter().map(|delivery| delivery.ack_id(version));
        match ids.collect() {
            Some(returned) => self.outbound.queue(Content::UnsubscribeAndReturn {
                id: self.id.clone(),
                returned,
            }),
            None => Receipt::failed(NotSentReason::NoAckId),
        }
    }
}

/// The ids in an ACK or NACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AckId {
    /// The message's `ack` header; before STOMP 1.2 its `message-id`.
    pub(super) id: String,
    pub(super) subscription: String,
}

/// A message from the broker that waits for its ACK or NACK.
#[derive(Clone)]
pub struct Delivery {
    /// The `destination` header.
    pub destination: String,
    /// The `message-id` header. RabbitMQ assigns a new one at each delivery.
    pub message_id: String,
    /// All headers, in order. If a name repeats, the first counts.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    pub(super) subscription: String,
    pub(super) ack: Option<String>,
    pub(super) defects: Box<[Defect]>,
    /// The number of the connection that it came through.
    pub(super) connection: u64,
}

impl Delivery {
    /// Creates a delivery from a MESSAGE; fails if a required header is missing.
    pub(super) fn new(frame: Frame, connection: u64, version: Version) -> Result<Self, Error> {
        let header = |name: &str| frame.header(name).map(str::to_owned);
        // STOMP 1.0 does not require `subscription`; in later versions it is never empty.
        let is_optional = version == Version::V1_0;
        let named = header("subscription").filter(|id| is_optional || !id.is_empty());
        let (Some(destination), Some(message_id), Some(subscription)) = (
            header("destination"),
            header("message-id"),
            named.or(is_optional.then(String::new)),
        ) else {
            return Err(Error::UnexpectedFrame {
                command: "MESSAGE without destination, message-id or subscription".to_owned(),
            });
        };
        Ok(Self {
            destination,
            message_id,
            subscription,
            ack: header("ack"),
            connection,
            headers: frame.headers,
            body: frame.body,
            defects: frame.defects,
        })
    }

    /// A delivery that did not come from a broker and cannot be acknowledged.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn from_parts(destination: &str, headers: Headers, body: impl Into<Bytes>) -> Self {
        Self {
            destination: destination.to_owned(),
            message_id: "by-hand".to_owned(),
            headers,
            body: body.into(),
            subscription: String::new(),
            ack: None,
            defects: Box::default(),
            connection: 0,
        }
    }

    /// The id that acknowledges it; `None` if the broker sent no `ack` header.
    pub(super) fn ack_id(&self, version: Version) -> Option<AckId> {
        let id = match version {
            Version::V1_0 | Version::V1_1 => self.message_id.clone(),
            Version::V1_2 => self.ack.clone()?,
        };
        Some(AckId {
            id,
            subscription: self.subscription.clone(),
        })
    }

    /// A copy without headers and body, which is enough to acknowledge it.
    pub(crate) fn stub(&self) -> Self {
        Self {
            destination: self.destination.clone(),
            message_id: self.message_id.clone(),
            headers: Headers::new(),
            body: Bytes::new(),
            subscription: self.subscription.clone(),
            ack: self.ack.clone(),
            defects: Box::default(),
            connection: self.connection,
        }
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// What could not be decoded; empty if the message is exactly as it was sent. A delivery with
    /// defects can be acknowledged all the same.
    #[must_use]
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    /// Whether this is a redelivery: RabbitMQ and ActiveMQ both send `redelivered:true`.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.header("redelivered") == Some("true")
    }
}

// Not derived: a body may contain personal data.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("destination", &self.destination)
            .field("message_id", &self.message_id)
            .field("subscription", &self.subscription)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
