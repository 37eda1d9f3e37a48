//! The relay sends the rows of the outbox to the broker.
//!
//! A relay claims rows under a lease, sends them with a window of receipts in flight, and settles each row
//! by the broker's answer: never as sent without the receipt for that very row, and never with a
//! transaction open while it waits.

mod commit_instrumentation;
mod error;
mod monitor;
pub(crate) mod observer;
mod on_commit;
#[allow(clippy::module_inception)]
mod relay;
mod row_event;
mod stats;
mod status;
mod stomp;

pub use crate::db::PoolTooSmall;
pub use crate::engine::unknown_stream::UnknownStream;
pub use crate::engine::wake::Waker;
pub use crate::status::{BrokerConnection, LastError};
pub use error::RelayError;
pub use monitor::RelayMonitor;
pub use on_commit::{OnCommit, OnCommitError};
pub use relay::Relay;
pub use row_event::RowEvent;
pub use stats::RelayStats;
pub use status::RelayStatus;
