//! A STOMP client: frames, one connection, and receipts. It does not use a database.
//!
//! [`Client::connect`] opens one connection; [`Connector`] retries until it has one. Nothing here
//! reconnects on its own: [`Client::closed`] resolves when the connection ends, and each
//! [`Receipt`] returns the result of its frame.

mod client;
mod command;
mod connection;
mod connector;
mod decoder;
pub(crate) mod defect;
mod dialect;
mod encoder;
mod endpoint;
mod error;
mod error_frame;
mod frame;
mod handshake;
mod head;
mod headers;
mod heartbeat;
mod incoming;
mod limits;
mod options;
mod outgoing;
mod oversized;
mod pending;
mod receipt;
mod receive_budget;
mod redaction;
mod subscription;
#[cfg(feature = "tls")]
mod tls;
mod url_error;
mod version;
mod write_buffer;

pub use crate::broker::{Broker, ErrorKind};
pub use client::Client;
pub(crate) use command::OF_SUBSCRIBE;
pub use command::SendFrame;
pub use connector::Connector;
pub use decoder::DecodeError;
pub use defect::Defect;
pub use encoder::EncodeError;
#[cfg(feature = "cli")]
pub(crate) use endpoint::Endpoint;
pub use error::{Error, NotSentReason};
pub use error_frame::ErrorFrame;
pub use headers::Headers;
pub use limits::Limits;
pub use options::Options;
pub use receipt::Receipt;
pub(crate) use receive_budget::Kept;
pub use subscription::{Delivery, Subscribe, Subscription};
#[cfg(feature = "tls")]
pub use tls::{ServerCertificate, Tls, TlsError};
#[cfg(feature = "cli")]
pub(crate) use tls::{certificate_expiry, certificates_in};
pub use url_error::UrlError;
pub use version::Version;

/// Frames to bytes and back, for this repository's property tests, fuzz targets and benchmarks. Not
/// part of the API: it changes without notice.
#[doc(hidden)]
pub mod codec {
    pub use super::decoder::{DecodeError, Decoder};
    pub use super::dialect::Dialect;
    pub use super::encoder::{encode, encode_frame};
    pub use super::frame::Frame;
}
