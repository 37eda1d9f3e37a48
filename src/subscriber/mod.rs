//! A subscriber consumes a queue of the broker and calls a callback for each message.
//!
//! Each message has its effect once: the inbox row is inserted in the transaction in which the callback
//! works, and the message is acknowledged after the commit.

mod acks;
mod attempt;
mod crash_count;
mod dead_letter;
mod dead_letter_queue;
mod engine;
mod error;
mod external;
mod job;
mod key_lanes;
mod managed;
mod monitor;
mod outage_check;
mod outcome;
mod queue;
mod queue_error;
mod retry_send;
mod session;
mod settings;
mod stats;
mod status;
mod stuck_threads;
#[allow(clippy::module_inception)]
mod subscriber;
mod thread_watch;
mod worker;
mod worker_pool;

pub use crate::db::PoolTooSmall;
pub use crate::status::{BrokerConnection, LastError};
#[cfg(feature = "testing")]
pub(crate) use attempt::{Attempt, attempt_on};
pub use error::SubscribeError;
pub use monitor::SubscriberMonitor;
#[cfg(feature = "cli")]
pub(crate) use queue::Queue;
pub use queue_error::QueueError;
pub use stats::SubscriberStats;
pub use status::SubscriberStatus;
pub use subscriber::Subscriber;
