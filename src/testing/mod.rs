//! Tools for tests: an in-process STOMP broker, [`published`] and [`published_to`] to read the
//! outbox, [`handle`] to pass a message to a callback, and [`settle`] to run a relay and
//! subscribers until nothing is left to do.
//!
//! [`LoopbackBroker`] listens on a loopback port and behaves like RabbitMQ's STOMP plugin: queues,
//! topics, receipts, acknowledgements, redelivery and dead letters. It also causes faults on
//! demand. **It keeps messages in memory only**: use a real broker in production.
//!
//! ```
//! use diesel_outbox::config::Config;
//! use diesel_outbox::testing::LoopbackBroker;
//! use diesel_outbox::{Message, Producer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = LoopbackBroker::start()?;
//! let config = Config::builder().set("stomp_url", broker.url()).build()?;
//! let producer = Producer::connect(&config).await?;
//! producer.send(Message::new("/queue/mail", "hello")).await?;
//! assert_eq!(broker.view(|view| view.ready("mail")), 1);
//! # Ok(())
//! # }
//! ```

mod broker;
mod core;
mod destination;
mod faults;
mod handle;
mod published;
mod queue;
mod session;
mod settle;
mod version;
mod view;

pub use broker::LoopbackBroker;
pub use handle::{HandleError, Handling, handle};
pub use published::{PublishedRow, published, published_to};
pub use queue::QueuedMessage;
pub use settle::{SettleError, Settled, settle};
pub use view::{SentMessage, View};
