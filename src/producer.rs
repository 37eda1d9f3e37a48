//! Sends messages straight to the broker, without the outbox.

use bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Message;
use crate::config::{Config, ConfigError};
use crate::error::MessageError;
use crate::message::send_frame;
use crate::stomp::{self, Client, Options};
use crate::traces;

/// Why a message was not sent, or may not have been sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The broker's address is invalid.
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    /// The message is invalid. It was not sent.
    #[error("invalid message: {0}")]
    Message(#[from] MessageError),
    /// The body is larger than the setting `maximum_message_size` allows. It was not sent.
    #[error(
        "the body has {length} bytes, but the setting maximum_message_size allows {limit}: raise it, or send less"
    )]
    TooLarge {
        /// The body's length in bytes.
        length: usize,
        /// The value of the setting.
        limit: usize,
    },
    /// The broker could not be reached, refused the message, or did not answer in time.
    /// [`is_outcome_unknown`](stomp::Error::is_outcome_unknown) says whether it may have the message.
    #[error("the broker: {0}")]
    Broker(#[from] stomp::Error),
}

/// Sends messages straight to the broker and waits for the receipt of each.
///
/// There is no transaction and no retry: if a message belongs to a write in the database, use the outbox.
/// One producer may send several messages at the same time.
///
/// ```no_run
/// use diesel_outbox::config::Config;
/// use diesel_outbox::{Message, Producer};
///
/// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::builder().set("stomp_url", "stomp://guest:guest@localhost:61613/").build()?;
/// let producer = Producer::connect(&config).await?;
/// let id = producer.send(Message::new("/queue/mail", "hello")).await?;
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    options: Options,
    maximum_message_size: usize,
    client: Mutex<Option<Client>>,
}

impl Producer {
    /// Connects to the broker.
    ///
    /// # Errors
    ///
    /// If the settings are invalid, or the broker cannot be reached or refuses the login.
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

    /// Sends a message with the generated headers and waits for the broker's receipt. Returns the message's
    /// id.
    ///
    /// If the connection was lost before, the producer tries once to connect again. The stream, delay and
    /// expiry of a message have a meaning only in the outbox and are ignored; the ordering key is sent as
    /// the header `key`.
    ///
    /// # Errors
    ///
    /// If the message is invalid, or no receipt came. The broker may have the message nevertheless if
    /// [`is_outcome_unknown`](stomp::Error::is_outcome_unknown) says so: send it again with the same
    /// [`Message::id`], and the receiver's inbox recognises the duplicate.
    pub async fn send(&self, message: Message) -> Result<Uuid, SendError> {
        let ready = message.ready()?;
        let id = ready.id;
        let body = Bytes::from(serde_json::to_vec(&ready.body).map_err(MessageError::Body)?);
        let (length, limit) = (body.len(), self.maximum_message_size);
        if length > limit {
            return Err(SendError::TooLarge { length, limit });
        }
        let frame = send_frame::frame(
            ready.destination,
            ready.headers,
            ready.key.as_deref(),
            body,
            None,
        );
        let client = self.client().await?;
        let span = traces::send(client.broker(), id, &frame);
        let sent = client.send(frame).await;
        if let Err(error) = &sent {
            traces::failed(&span, error.send_failure(), error);
        }
        sent?;
        Ok(id)
    }

    /// Disconnects from the broker.
    ///
    /// # Errors
    ///
    /// If the broker does not answer. Every message for which [`send`](Self::send) returned `Ok` has its
    /// receipt nevertheless.
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
