//! A STOMP client: frames, one connection, its receipts. It knows no database.
//!
//! [`Client::connect`] makes one connection, [`Connector`] keeps trying until there is one. Nothing
//! here reconnects by itself: whoever holds a [`Client`] learns from [`Client::closed`] that it
//! ended, and from each [`Receipt`] what became of that frame.

pub mod decoder;
pub mod encoder;
mod endpoint;
pub mod frame;

mod broker;
mod client;
mod command;
mod connection;
mod connector;
pub(crate) mod defect;
mod dialect;
mod error;
mod error_frame;
mod excess;
mod handshake;
mod head;
mod headers;
mod heartbeat;
mod incoming;
mod limits;
mod mask;
mod options;
mod outgoing;
mod output;
mod pending;
mod receipt;
mod subscription;
mod tls;
mod untaken;
mod url_error;
mod version;

pub use broker::Broker;
pub use client::Client;
pub use command::SendFrame;
pub use connector::Connector;
pub use defect::Defect;
pub use dialect::Dialect;
pub use error::{Error, NotSentReason};
pub use error_frame::{ErrorFrame, ErrorKind};
pub use headers::Headers;
pub use limits::Limits;
pub use options::Options;
pub use receipt::Receipt;
pub use subscription::{Delivery, Subscribe, Subscription};
pub use tls::{ServerCertificate, Tls, TlsError};
pub(crate) use untaken::Kept;
pub use url_error::UrlError;
pub use version::Version;
