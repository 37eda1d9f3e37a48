//! Errors of a connection or of one frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::decoder::DecodeError;
use super::encoder::EncodeError;
use super::error_frame::ErrorFrame;
#[cfg(feature = "tls")]
use super::tls::TlsError;
use crate::broker::ErrorKind;

/// What went wrong with a connection, or with one frame. It holds no password.
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

    /// The broker's name was not resolved within the timeout.
    #[error("cannot resolve {address} within {after:?}")]
    ResolveTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::resolve_timeout`](super::Options::resolve_timeout).
        after: Duration,
    },

    /// The TCP connection failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// The operating system's error, for the last of the name's addresses.
        source: Arc<io::Error>,
    },

    /// The TCP connection was not made within the timeout.
    #[error("cannot connect to {address} within {after:?}")]
    ConnectTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::connect_timeout`](super::Options::connect_timeout).
        after: Duration,
    },

    /// TLS could not be set up.
    #[cfg(feature = "tls")]
    #[error("cannot set up TLS with {address}: {source}")]
    Tls {
        /// `host:port`.
        address: String,
        /// The reason.
        source: Arc<TlsError>,
    },

    /// TLS was not set up within the timeout.
    #[error("cannot set up TLS with {address} within {after:?}")]
    TlsTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::tls_timeout`](super::Options::tls_timeout).
        after: Duration,
    },

    /// CONNECTED did not arrive within the timeout.
    #[error("{address} did not answer CONNECT within {after:?}")]
    ConnectedTimeout {
        /// `host:port`.
        address: String,
        /// [`Options::connected_timeout`](super::Options::connected_timeout).
        after: Duration,
    },

    /// The connection ended before CONNECTED arrived. RabbitMQ closes without an ERROR if it cannot
    /// parse the CONNECT frame; a port without STOMP usually does the same.
    #[error("{address} did not answer CONNECT: {source}")]
    ConnectLost {
        /// `host:port`.
        address: String,
        /// Why it ended.
        source: Arc<Error>,
    },

    /// The broker answered CONNECT with ERROR.
    #[error("{address} refused the connection: {error_frame}")]
    Refused {
        /// `host:port`.
        address: String,
        /// The broker's ERROR.
        error_frame: Arc<ErrorFrame>,
    },

    /// The broker chose a version that was not offered.
    #[error("{address} speaks STOMP {version:?}, which was not offered; offered: {asked}")]
    UnsupportedVersion {
        /// `host:port`.
        address: String,
        /// The `version` header of its CONNECTED.
        version: String,
        /// The versions in [`Options::versions`](super::Options::versions).
        asked: String,
    },

    /// The broker answered this frame with an ERROR that names its receipt.
    #[error("the broker refused the frame: {0}")]
    ErrorFrame(Arc<ErrorFrame>),

    /// The frame was not written, or not in full, so that the broker cannot have it.
    #[error("not sent: {reason}")]
    NotSent {
        /// The reason.
        #[source]
        reason: NotSentReason,
    },

    /// The connection ended. For a frame: after it was written, and before its receipt arrived.
    #[error("the connection to the broker was lost: {}", describe(source, error_frame.as_deref()))]
    ConnectionLost {
        /// Why it ended: [`Error::Disconnected`], [`Error::Io`], [`Error::Decode`],
        /// [`Error::UnexpectedFrame`], [`Error::HeartbeatLost`], [`Error::LeftOpen`],
        /// [`Error::DeadlineExceeded`] or [`Error::Closed`].
        source: Arc<Error>,
        /// The ERROR that arrived before and is probably the reason. It may be about another frame.
        error_frame: Option<Arc<ErrorFrame>>,
    },

    /// The receipt did not arrive within the timeout. The connection stays open.
    #[error("no receipt within {after:?}")]
    ReceiptTimeout {
        /// [`Options::receipt_timeout`](super::Options::receipt_timeout).
        after: Duration,
    },

    /// The broker sent nothing, neither a frame nor a heart-beat.
    #[error("the broker sent no data and no heart-beat for {after:?}")]
    HeartbeatLost {
        /// The silence: more than twice the negotiated interval.
        after: Duration,
    },

    /// The socket failed.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),

    /// The broker closed the connection.
    #[error("the broker closed the connection")]
    Disconnected,

    /// The data from the broker is not valid STOMP.
    #[error("{0}")]
    Decode(#[source] Arc<DecodeError>),

    /// The broker answered CONNECT with TLS.
    #[error("the broker requires TLS at this port: use stomp+ssl://")]
    PeerSpeaksTls,

    /// The broker sent a frame that is not allowed at this point.
    #[error("unexpected frame {command:?}")]
    UnexpectedFrame {
        /// The frame's command.
        command: String,
    },

    /// The broker sent an ERROR that names no receipt and left the connection open, so the client
    /// closed it: STOMP 1.2, "ERROR", requires the server to close. RabbitMQ 3.10 leaves it open
    /// after an unknown destination.
    #[error("closed by this client because the broker left the connection open after an ERROR")]
    LeftOpen,

    /// The client closed the connection in the middle of a frame because its
    /// [`not_after`](super::SendFrame::not_after) had passed. Frames written before may have
    /// arrived.
    #[error("closed by this client because the deadline of a frame passed while it was written")]
    DeadlineExceeded,

    /// The client closed the connection on request.
    #[error("closed by this client")]
    Closed,
}

/// Why a frame was not written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSentReason {
    /// A header or the destination cannot be encoded in STOMP, or in this version of it.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A header that the client sets itself or that a SEND cannot have.
    #[error("the header {name:?} cannot be set by hand")]
    ReservedHeader {
        /// The header.
        name: String,
    },
    /// STOMP 1.0 has no NACK, and neither has this broker.
    #[error("STOMP 1.0 has no NACK")]
    NoNack,
    /// Its `not_after` had passed before anything was written.
    #[error("its deadline passed before it was written")]
    DeadlineExceeded,
    /// Its `not_after` passed when only a part was written. The rest is not written; the broker
    /// drops an incomplete frame.
    #[error("its deadline passed before all of it was written")]
    CutOff,
    /// It waited in the queue for the whole receipt timeout because the broker does not read.
    #[error("it could not be written within {after:?}: the broker does not read")]
    TimedOut {
        /// [`Options::receipt_timeout`](super::Options::receipt_timeout).
        after: Duration,
    },
    /// The delivery came through another connection, and only that one can acknowledge it.
    #[error("the delivery belongs to another connection")]
    OtherConnection,
    /// The broker sent the delivery without an `ack` header.
    #[error("the delivery has no ack id")]
    NoAckId,
    /// The connection had ended or was closing.
    #[error("{0}")]
    ConnectionLost(#[source] Arc<Error>),
}

impl Error {
    /// Whether the broker answered this frame with an ERROR that names its receipt: the fault is
    /// the frame's own.
    #[must_use]
    pub fn names_receipt(&self) -> bool {
        matches!(self, Self::ErrorFrame(_))
    }

    /// The kind of a failed SEND in one word, for its span.
    pub(crate) fn send_failure(&self) -> &'static str {
        if self.names_receipt() {
            "refused"
        } else if self.is_timeout() {
            "timeout"
        } else if self.is_outcome_unknown() {
            "connection_lost"
        } else {
            "not_sent"
        }
    }

    /// Whether the broker may have received the frame: it was written, but no receipt arrived.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::ConnectionLost { .. } | Self::ReceiptTimeout { .. }
        )
    }

    /// Whether the broker refused the user, the password or the virtual host at CONNECT. A retry
    /// with the same settings is unlikely to help.
    #[must_use]
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Refused { error_frame, .. } if matches!(
            error_frame.kind(),
            ErrorKind::RefusedLogin | ErrorKind::RefusedVirtualHost
        ))
    }

    /// Whether this side's own files or settings are at fault, such as an unreadable certificate.
    #[must_use]
    pub fn is_misconfigured(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Self::Tls { source, .. } = self {
            return source.is_local();
        }
        false
    }

    /// Whether a retry with the same settings is unlikely to help: the login is refused, one side
    /// does not trust the other's certificate, both sides have no version in common, a file or
    /// setting of this side is wrong, or the frame cannot be encoded.
    #[must_use]
    pub fn is_final(&self) -> bool {
        #[cfg(feature = "tls")]
        let is_untrusted = matches!(self, Self::Tls { source, .. } if source.is_untrusted());
        #[cfg(not(feature = "tls"))]
        let is_untrusted = false;
        let is_foreign = matches!(self, Self::UnsupportedVersion { .. });
        let is_unwritable = matches!(
            self,
            Self::NotSent {
                reason: NotSentReason::Encode(_)
            }
        );
        self.is_refused_login()
            || is_untrusted
            || is_foreign
            || is_unwritable
            || self.is_misconfigured()
    }

    /// Whether the receipt timeout passed, whether the frame was written or not.
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

    /// Whether this side closed the connection.
    #[must_use]
    pub fn is_closed_by_us(&self) -> bool {
        match self {
            Self::Closed | Self::DeadlineExceeded => true,
            Self::ConnectionLost { source, .. } => source.is_closed_by_us(),
            Self::NotSent {
                reason: NotSentReason::ConnectionLost(error),
            } => error.is_closed_by_us(),
            _ => false,
        }
    }

    /// Whether the connection was closed because of a frame that cannot be decoded and does not
    /// contain what an ACK needs.
    #[must_use]
    pub fn is_decode_error(&self) -> bool {
        match self {
            Self::Decode(_) | Self::UnexpectedFrame { .. } => true,
            Self::ConnectionLost { source, .. } => source.is_decode_error(),
            _ => false,
        }
    }

    /// Whether the connection was closed because the broker sent nothing.
    #[must_use]
    pub fn is_heartbeat_timeout(&self) -> bool {
        match self {
            Self::HeartbeatLost { .. } => true,
            Self::ConnectionLost { source, .. } => source.is_heartbeat_timeout(),
            _ => false,
        }
    }

    /// The broker's ERROR, if there was one. It is certainly about this frame only if
    /// [`names_receipt`](Self::names_receipt) is true.
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

    /// The error for a frame that was not written before its connection ended for this reason.
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
