//! Messages from the broker.

use std::fmt;

use bytes::Bytes;

use super::client::Outbound;
use super::command::Content;
use super::defect::Defect;
use super::error::Error;
use super::frame::Frame;
use super::headers::Headers;
use super::receipt::Receipt;
use super::untaken::{Inbox, Kept};
use super::version::Version;

/// What to subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// Where the messages come from.
    pub destination: String,
    /// Further headers, such as `prefetch-count`. Those that the client sets itself are refused: `id`,
    /// `ack`, `destination`, `receipt`, `content-length`.
    pub headers: Vec<(String, String)>,
}

/// A subscription. Dropping it stops the forwarding of its messages but sends no UNSUBSCRIBE,
/// after which RabbitMQ refuses the ACKs that are still to come; the broker keeps what it had
/// delivered until the connection ends.
#[derive(Debug)]
pub struct Subscription {
    pub(super) id: String,
    pub(super) inbox: Inbox,
    pub(super) outbound: Outbound,
}

impl Subscription {
    /// The next message; `None` when the connection or the subscription ended. Safe to cancel: no
    /// message is lost.
    ///
    /// A `prefetch-count` at SUBSCRIBE limits how many wait here. A broker that heeds none is not
    /// read any more while they are over [`Options::untaken_limit`](super::Options::untaken_limit).
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_kept().await.map(|(delivery, _)| delivery)
    }

    /// The same; the message counts as one that waits here until the second part is dropped. Whoever
    /// waits for a receipt on this connection has to drop it before: it may be behind messages that
    /// are not read meanwhile.
    pub(crate) async fn next_kept(&mut self) -> Option<(Delivery, Kept)> {
        self.inbox.next().await
    }

    /// The subscription's id, the `subscription` header of its messages.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends UNSUBSCRIBE. With its receipt the subscription ends; messages that were on their way
    /// are still given out by [`next`](Self::next). Acknowledge first: RabbitMQ answers a later
    /// ACK with ERROR.
    pub fn unsubscribe(&self) -> Receipt {
        self.outbound.queue(Content::Unsubscribe {
            id: self.id.clone(),
        })
    }
}

/// What an ACK or a NACK names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AckId {
    /// Of the message: its `ack` header, before STOMP 1.2 its `message-id`.
    pub(super) id: String,
    pub(super) subscription: String,
}

/// A message from the broker, which waits for its ACK or NACK.
#[derive(Clone)]
pub struct Delivery {
    /// The `destination` header.
    pub destination: String,
    /// The `message-id` header. RabbitMQ gives a message another one at every delivery.
    pub message_id: String,
    /// All headers, in their order; where a name repeats, the first counts.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    pub(super) subscription: String,
    pub(super) ack: Option<String>,
    pub(super) defects: Box<[Defect]>,
    /// The connection it came through.
    pub(super) connection: u64,
}

impl Delivery {
    /// A MESSAGE as a delivery; the error is a frame that lacks what every MESSAGE has.
    pub(super) fn new(frame: Frame, connection: u64, version: Version) -> Result<Self, Error> {
        let header = |name: &str| frame.header(name).map(str::to_owned);
        // STOMP 1.0 does not ask for it; later ones have no empty one.
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

    /// A delivery that no broker made, and that nobody can acknowledge.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn by_hand(destination: &str, headers: Headers, body: impl Into<Bytes>) -> Self {
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

    /// What acknowledges it; none where the broker gave it no `ack` header.
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

    /// The same without headers and body: enough to answer it.
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

    /// What of the message could not be decoded; nothing, where it is as its sender has sent it.
    /// However much that is, the delivery can be answered by ACK or NACK.
    #[must_use]
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    /// Whether the broker says that it has delivered the message before: `redelivered:true`, of
    /// RabbitMQ and ActiveMQ alike.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.header("redelivered") == Some("true")
    }
}

// A body may be a customer's.
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
