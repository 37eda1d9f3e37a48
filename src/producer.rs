//! Straight to the broker, without the outbox.

use bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Message;
use crate::config::{Config, ConfigError};
use crate::error::MessageError;
use crate::outgoing;
use crate::stomp::{self, Client, Options};

/// Why a message was not sent, or may not have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The broker's address cannot be read.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The message is invalid. It was not sent.
    #[error("invalid message: {0}")]
    Message(#[from] MessageError),
    /// The body is larger than the setting `maximum_message_size` allows. It was not sent.
    #[error("the body has {length} bytes, and the setting maximum_message_size allows {limit}")]
    TooLarge {
        /// The body's bytes.
        length: usize,
        /// The setting.
        limit: usize,
    },
    /// The broker is away, refused, or did not answer in time.
    /// [`is_fate_unknown`](stomp::Error::is_fate_unknown) tells whether it may have the message.
    #[error("the broker: {0}")]
    Broker(#[from] stomp::Error),
}

/// Sends messages straight to the broker and waits for the receipt of each.
///
/// There is no transaction and no second attempt: for what belongs to a write in the database, use
/// the outbox. Several messages may be sent at the same time through one producer.
#[derive(Debug)]
pub struct Producer {
    options: Options,
    maximum_message_size: usize,
    client: Mutex<Option<Client>>,
}

impl Producer {
    /// Connects to the broker of these settings.
    ///
    /// # Errors
    ///
    /// When the settings are invalid, or the broker is away or refuses the login.
    pub async fn connect(config: &Config) -> Result<Self, SendError> {
        config.validate()?;
        let options = config.stomp_options()?;
        let client = Client::connect(&options).await?;
        Ok(Self {
            options,
            maximum_message_size: config.maximum_message_size,
            client: Mutex::new(Some(client)),
        })
    }

    /// Sends a message, its headers completed, and waits for the broker's receipt; returns the
    /// message's id. Where the connection was lost before, one attempt is made to connect again.
    ///
    /// What a message says only to the outbox (ordering key, stream, expiry) has no meaning here.
    ///
    /// # Errors
    ///
    /// When the message is invalid, or no receipt came. It may have arrived all the same where
    /// [`is_fate_unknown`](stomp::Error::is_fate_unknown) says so; sending it again with the same
    /// id is not possible, so a duplicate then has another id.
    pub async fn send(&self, message: Message) -> Result<Uuid, SendError> {
        let ready = message.ready()?;
        let id = ready.id;
        let body = Bytes::from(serde_json::to_vec(&ready.body).map_err(MessageError::Body)?);
        let (length, limit) = (body.len(), self.maximum_message_size);
        if length > limit {
            return Err(SendError::TooLarge { length, limit });
        }
        let frame = outgoing::frame(
            ready.destination,
            ready.headers,
            ready.key.as_deref(),
            body,
            None,
        );
        let receipt = self.client().await?.send(frame);
        receipt.await?;
        Ok(id)
    }

    /// Takes leave of the broker.
    ///
    /// # Errors
    ///
    /// When the broker does not answer; every message that [`send`](Self::send) returned for has
    /// its receipt all the same.
    pub async fn close(self) -> Result<(), SendError> {
        if let Some(client) = self.client.into_inner() {
            client.disconnect().await?;
        }
        Ok(())
    }

    async fn client(&self) -> Result<Client, stomp::Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.options).await?;
        *slot = Some(client.clone());
        Ok(client)
    }
}
