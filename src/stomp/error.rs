//! What can go wrong with a connection, or with one frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::decoder::DecodeError;
use super::encoder::EncodeError;
use super::error_frame::{ErrorFrame, ErrorKind};
use super::tls::TlsError;

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

    /// The broker's name was not resolved in time.
    #[error("{address} could not be resolved within {after:?}")]
    ResolveTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::resolve_timeout`](super::Options::resolve_timeout).
        after: Duration,
    },

    /// No TCP connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// The system's reason, for the last of the name's addresses.
        source: Arc<io::Error>,
    },

    /// No TCP connection could be made in time.
    #[error("no connection to {address} within {after:?}")]
    ConnectTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::connect_timeout`](super::Options::connect_timeout).
        after: Duration,
    },

    /// There is no TLS with the broker.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// `host:port`.
        address: String,
        /// Why.
        source: Arc<TlsError>,
    },

    /// Both sides did not agree on TLS in time.
    #[error("no TLS with {address} within {after:?}")]
    TlsTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::tls_timeout`](super::Options::tls_timeout).
        after: Duration,
    },

    /// CONNECTED did not come in time.
    #[error("{address} did not answer CONNECT within {after:?}")]
    ConnectedTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::connected_timeout`](super::Options::connected_timeout).
        after: Duration,
    },

    /// The connection ended before CONNECTED came. RabbitMQ does so without a word where it cannot
    /// read the CONNECT frame, and so does a port at which no STOMP is spoken.
    #[error("{address} did not answer CONNECT: {source}")]
    ConnectLost {
        /// `host:port`.
        address: String,
        /// How it ended.
        source: Arc<Error>,
    },

    /// The broker answered CONNECT with ERROR.
    #[error("{address} refused the connection: {error_frame}")]
    Refused {
        /// `host:port`.
        address: String,
        /// What it says.
        error_frame: Arc<ErrorFrame>,
    },

    /// The broker speaks none of the versions that we ask for.
    #[error("{address} speaks STOMP {version:?}, and none of the versions asked for: {asked}")]
    UnsupportedVersion {
        /// `host:port`.
        address: String,
        /// The `version` header of its CONNECTED.
        version: String,
        /// Those of [`Options::versions`](super::Options::versions).
        asked: String,
    },

    /// The broker answered this very frame with ERROR, naming its receipt.
    #[error("the broker refused the frame: {0}")]
    ErrorFrame(Arc<ErrorFrame>),

    /// The frame was not written, not even in part.
    #[error("not sent: {reason}")]
    NotSent {
        /// Why.
        #[source]
        reason: NotSentReason,
    },

    /// The connection ended. Of a frame: after it was written, before its receipt came.
    #[error("the connection to the broker was lost: {}", describe(source, error_frame.as_deref()))]
    ConnectionLost {
        /// How it ended: [`Error::Disconnected`], [`Error::Io`], [`Error::Decode`],
        /// [`Error::UnexpectedFrame`], [`Error::HeartbeatLost`], [`Error::LeftOpen`],
        /// [`Error::Late`], [`Error::Closed`].
        source: Arc<Error>,
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
    Io(#[source] Arc<io::Error>),

    /// The broker closed the connection.
    #[error("the broker closed the connection")]
    Disconnected,

    /// What came from the broker is not STOMP.
    #[error("{0}")]
    Decode(#[source] Arc<DecodeError>),

    /// The broker answered CONNECT with TLS.
    #[error("TLS is spoken there: use stomp+ssl://")]
    SpeaksTls,

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

    /// We closed the connection in the middle of a frame whose
    /// [`not_after`](super::SendFrame::not_after) had come. What was written before may have
    /// arrived.
    #[error("closed by us, as a frame could not be written in its time")]
    Late,

    /// We closed the connection ourselves, because we were told to.
    #[error("closed by us")]
    Closed,
}

/// Why a frame was not written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSentReason {
    /// A header, or the destination, that STOMP or this version of it cannot carry.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A header that the client sets itself, or that no SEND may have.
    #[error("the header {name:?} cannot be set by hand")]
    ReservedHeader {
        /// The header.
        name: String,
    },
    /// The version has no NACK (STOMP 1.0), and this broker none of its own.
    #[error("STOMP 1.0 has no NACK")]
    NoNack,
    /// Its `not_after` had passed.
    #[error("its time was over before it could be written")]
    Late,
    /// A part of it was written when its `not_after` came; the rest never is, and the broker drops
    /// such a frame.
    #[error("its time was over before all of it could be written")]
    CutOff,
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
    /// The connection had ended, or was about to.
    #[error("{0}")]
    ConnectionLost(#[source] Arc<Error>),
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
        matches!(self, Self::Refused { error_frame, .. } if matches!(
            error_frame.kind(),
            ErrorKind::RefusedLogin | ErrorKind::RefusedVirtualHost
        ))
    }

    /// Whether our own files or settings are at fault, such as a certificate that cannot be read.
    #[must_use]
    pub fn is_misconfigured(&self) -> bool {
        matches!(self, Self::Tls { source, .. } if source.is_ours())
    }

    /// Whether trying again with the same settings is unlikely to help: the login is refused, one
    /// side does not trust the other's certificate, there is no version that both speak, our own
    /// settings are at fault, or the frame cannot be written.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let is_distrust = matches!(self, Self::Tls { source, .. } if source.is_distrust());
        let is_foreign = matches!(self, Self::UnsupportedVersion { .. });
        let is_unwritable = matches!(
            self,
            Self::NotSent {
                reason: NotSentReason::Encode(_)
            }
        );
        self.is_refused_login()
            || is_distrust
            || is_foreign
            || is_unwritable
            || self.is_misconfigured()
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
            Self::Closed | Self::Late => true,
            Self::ConnectionLost { source, .. } => source.is_closed_by_us(),
            Self::NotSent {
                reason: NotSentReason::ConnectionLost(error),
            } => error.is_closed_by_us(),
            _ => false,
        }
    }

    /// Whether the connection was closed because of a frame of the broker's that cannot be read, and
    /// that does not say either what would answer it.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Decode(_) | Self::UnexpectedFrame { .. } => true,
            Self::ConnectionLost { source, .. } => source.is_unreadable(),
            _ => false,
        }
    }

    /// Whether the connection was given up because nothing came from the broker any more.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::HeartbeatLost { .. } => true,
            Self::ConnectionLost { source, .. } => source.is_silence(),
            _ => false,
        }
    }

    /// The broker's ERROR, where there was one. Only where [`names_receipt`](Self::names_receipt)
    /// is true, it is certain to be about this frame.
    #[must_use]
    pub fn error_frame(&self) -> Option<&ErrorFrame> {
        match self {
            Self::Refused { error_frame, .. } | Self::ErrorFrame(error_frame) => Some(error_frame),
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
