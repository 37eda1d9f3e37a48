//! What can go wrong with a connection, or with one frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::decoder::DecodeError;
use super::error_frame::{ErrorFrame, ErrorKind};

/// What went wrong with a connection, or with one frame. It holds neither user nor password.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker's name could not be resolved.
    #[error("cannot resolve {address}: {source}")]
    Resolve {
        /// `host:port`.
        address: String,
        /// The system's reason.
        source: Arc<io::Error>,
    },

    /// No TCP connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// The system's reason, for the last of the name's addresses.
        source: Arc<io::Error>,
    },

    /// Resolving, connecting and the answer to CONNECT took too long together.
    #[error("no connection to {address} within {after:?}")]
    ConnectTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::connect_timeout`](super::Options::connect_timeout).
        after: Duration,
    },

    /// The connection ended before CONNECTED came. RabbitMQ does so without a word where it cannot
    /// read the CONNECT frame, and so does a port at which no STOMP is spoken.
    #[error("{address} did not answer CONNECT: {cause}")]
    ConnectLost {
        /// `host:port`.
        address: String,
        /// How it ended.
        cause: Arc<Error>,
    },

    /// The broker answered CONNECT with ERROR.
    #[error("the broker refused the connection: {0}")]
    Refused(Arc<ErrorFrame>),

    /// The broker does not speak STOMP 1.2.
    #[error("the broker speaks STOMP {version:?}, and not 1.2")]
    UnsupportedVersion {
        /// The `version` header of its CONNECTED.
        version: String,
    },

    /// The broker answered this very frame with ERROR, naming its receipt.
    #[error("the broker refused the frame: {0}")]
    ErrorFrame(Arc<ErrorFrame>),

    /// The frame was not written, not even in part.
    #[error("not sent: {reason}")]
    NotSent {
        /// Why.
        reason: NotSentReason,
    },

    /// The connection ended. Of a frame: after it was written, before its receipt came.
    #[error("the connection to the broker was lost: {}", describe(cause, error_frame.as_deref()))]
    ConnectionLost {
        /// How it ended: [`Error::Disconnected`], [`Error::Io`], [`Error::Decode`],
        /// [`Error::UnexpectedFrame`], [`Error::HeartbeatLost`], [`Error::LeftOpen`],
        /// [`Error::Closed`].
        cause: Arc<Error>,
        /// The ERROR that came before, and is most likely the reason. It need not be about this
        /// frame.
        error_frame: Option<Arc<ErrorFrame>>,
    },

    /// The frame's receipt did not come in time. The connection goes on.
    #[error("no receipt within {after:?}")]
    ReceiptTimeout {
        /// [`Options::receipt_timeout`](super::Options::receipt_timeout).
        after: Duration,
    },

    /// Nothing came from the broker, neither a frame nor a heart-beat.
    #[error("no sign of life within {after:?}")]
    HeartbeatLost {
        /// More than twice the interval that was agreed on.
        after: Duration,
    },

    /// The socket failed.
    #[error("{0}")]
    Io(Arc<io::Error>),

    /// The broker closed the connection.
    #[error("the broker closed the connection")]
    Disconnected,

    /// What came from the broker is not STOMP.
    #[error("{0}")]
    Decode(Arc<DecodeError>),

    /// The broker sent a frame that has no place here.
    #[error("unexpected frame {command:?}")]
    UnexpectedFrame {
        /// Its command.
        command: String,
    },

    /// The broker sent an ERROR that names no receipt, and left the connection open; STOMP 1.2
    /// wants it closed, so we did. RabbitMQ 3.10 does so for an unknown destination.
    #[error("closed by us, as the broker left it open")]
    LeftOpen,

    /// We closed the connection ourselves, because we were told to.
    #[error("closed by us")]
    Closed,
}

/// Why a frame was not written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSentReason {
    /// A header or the destination holds NUL, for which STOMP has no escape sequence.
    #[error("header {name:?} holds a NUL character, which STOMP cannot carry")]
    Nul {
        /// The header.
        name: String,
    },
    /// A header has no name; RabbitMQ closes the connection for it.
    #[error("a header has an empty name")]
    EmptyHeaderName,
    /// Its `not_after` had passed.
    #[error("its time was over before it could be written")]
    Late,
    /// It waited in the queue for as long as a receipt may take: the broker does not read.
    #[error("it could not be written within {after:?}: the broker does not read")]
    TimedOut {
        /// [`Options::receipt_timeout`](super::Options::receipt_timeout).
        after: Duration,
    },
    /// The delivery came through another connection, where alone it can be acknowledged.
    #[error("the delivery belongs to another connection")]
    OtherConnection,
    /// The broker gave the delivery no `ack` header.
    #[error("the delivery has no ack id")]
    NoAckId,
    /// The frame could not be encoded.
    #[error("{0}")]
    Encode(String),
    /// The connection had ended, or was about to.
    #[error("{0}")]
    ConnectionLost(Arc<Error>),
}

impl Error {
    /// Whether this is an ERROR that named the receipt of this very frame: the frame's own
    /// failure.
    #[must_use]
    pub fn names_receipt(&self) -> bool {
        matches!(self, Self::ErrorFrame(_))
    }

    /// Whether the broker may have got the frame: it was written, and no receipt came.
    #[must_use]
    pub fn is_fate_unknown(&self) -> bool {
        matches!(
            self,
            Self::ConnectionLost { .. } | Self::ReceiptTimeout { .. }
        )
    }

    /// Whether the broker refused the user, the password or the virtual host at CONNECT: trying
    /// again with the same settings is unlikely to help.
    #[must_use]
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Refused(frame) if matches!(
            frame.kind(),
            ErrorKind::RefusedLogin | ErrorKind::RefusedVirtualHost
        ))
    }

    /// Whether a receipt did not come in time, the frame written or not.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ReceiptTimeout { .. }
                | Self::NotSent {
                    reason: NotSentReason::TimedOut { .. }
                }
        )
    }

    /// Whether the reason is that we closed the connection ourselves.
    #[must_use]
    pub fn is_closed_by_us(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::ConnectionLost { cause, .. } => cause.is_closed_by_us(),
            Self::NotSent {
                reason: NotSentReason::ConnectionLost(error),
            } => error.is_closed_by_us(),
            _ => false,
        }
    }

    /// Whether the connection was given up because nothing came from the broker any more.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::HeartbeatLost { .. } => true,
            Self::ConnectionLost { cause, .. } => cause.is_silence(),
            _ => false,
        }
    }

    /// The broker's ERROR, where there was one. Only where [`names_receipt`](Self::names_receipt)
    /// is true, it is certain to be about this frame.
    #[must_use]
    pub fn error_frame(&self) -> Option<&ErrorFrame> {
        match self {
            Self::Refused(frame) | Self::ErrorFrame(frame) => Some(frame),
            Self::ConnectionLost { error_frame, .. } => error_frame.as_deref(),
            Self::NotSent {
                reason: NotSentReason::ConnectionLost(error),
            } => error.error_frame(),
            _ => None,
        }
    }

    /// What a frame that was never written gets when its connection ended so.
    pub(super) fn into_not_sent(self) -> Self {
        NotSentReason::ConnectionLost(Arc::new(self)).into()
    }
}

impl From<NotSentReason> for Error {
    fn from(reason: NotSentReason) -> Self {
        Self::NotSent { reason }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(Arc::new(error))
    }
}

fn describe(cause: &Error, error_frame: Option<&ErrorFrame>) -> String {
    match error_frame {
        Some(frame) => format!("{cause}, after the error {frame}"),
        None => cause.to_string(),
    }
}
