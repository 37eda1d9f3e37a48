//! For tests, and for trying things out: a STOMP broker inside the process, [`published`] to look
//! into the outbox, [`handle`] to hand a message to a callback, [`settle`] to let relay and
//! subscribers work until nothing is left to do.
//!
//! [`LoopbackBroker`] listens on a port of the loopback and does what RabbitMQ's STOMP plugin does
//! with queues, topics, receipts, acknowledgements, redelivery and dead letters; and it breaks on
//! demand. **It keeps messages in memory only**: production uses a real broker.
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
mod idle;
mod published;
mod queue;
mod session;
mod version;
mod view;

pub use broker::LoopbackBroker;
pub use handle::{HandleError, Handling, handle};
pub use idle::{SettleError, Settled, settle};
pub use published::{PublishedRow, published};
pub use queue::Stored;
pub use view::{Sent, View};
