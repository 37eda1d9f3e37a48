//! What the handles ask of the task that owns the socket.

use std::fmt;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::error::{Error, NotSentReason};
use super::subscription::{Delivery, Subscribe};

/// A message to send.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SendFrame {
    /// Where to.
    pub destination: String,
    /// Further headers. Those that the client sets itself are left out where they are named here:
    /// `destination`, `receipt`, `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// From then on the frame is not to be written any more: a lease has ended. It is looked at
    /// when the bytes go to the buffer that is written to the socket next.
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
        deliveries: mpsc::UnboundedSender<Delivery>,
    },
    Unsubscribe {
        id: String,
    },
    Ack {
        id: String,
        /// Whether its receipt is asked for.
        is_confirmed: bool,
    },
    Nack {
        id: String,
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

    /// Whether STOMP can carry it.
    pub(super) fn check(&self) -> Result<(), NotSentReason> {
        let (destination, headers) = match self {
            Self::Send(frame) => (&frame.destination, &frame.headers),
            Self::Subscribe { subscribe, .. } => (&subscribe.destination, &subscribe.headers),
            // The peer's own text, in which our decoder allows anything.
            Self::Ack { id, .. } | Self::Nack { id, .. } => return check_nul("id", id),
            Self::Unsubscribe { .. } | Self::Ping { .. } | Self::Disconnect => return Ok(()),
        };
        check_nul("destination", destination)?;
        for (name, value) in headers {
            if name.is_empty() {
                return Err(NotSentReason::EmptyHeaderName);
            }
            check_nul(name, name)?;
            check_nul(name, value)?;
        }
        Ok(())
    }
}

fn check_nul(name: &str, text: &str) -> Result<(), NotSentReason> {
    if text.contains('\0') {
        return Err(NotSentReason::Nul {
            name: name.to_owned(),
        });
    }
    Ok(())
}
