//! Function calls through the outbox.
//!
//! A call is written to the table `outbox_calls` in the caller's transaction, and executed after the commit by
//! any executor that knows its name. A failed execution is tried again until it succeeds or the call is parked.
//!
//! # Writing calls
//!
//! The attribute [`outboxed`](macro@crate::outboxed) on a function adds a struct of the same name, whose fields are the
//! arguments:
//!
//! ```
//! use std::time::Duration;
//!
//! use diesel::prelude::*;
//! use diesel_outbox::calls::{self, write_all};
//! use diesel_outbox::prelude::*;
//!
//! /// Charges a customer. It works in the transaction that records the call as done.
//! #[outboxed(name = "shop.charge", key = customer)]
//! fn charge(conn: &mut SqliteConnection, customer: &str, cents: i64) -> Result<(), BoxError> {
//!     // ...
//!     # let _ = (conn, customer, cents);
//!     Ok(())
//! }
//!
//! # fn orders(conn: &mut SqliteConnection) -> Result<(), diesel_outbox::Error> {
//! conn.transaction(|conn| {
//!     // The order's own rows, and then:
//!     charge::later(conn, "ann", 1200)?;
//!     // With options.
//!     let call = charge { customer: "bob".to_owned(), cents: 700 };
//!     let id = call.delay(Duration::from_secs(3600)).write(conn)?;
//!     // As long as it waits, it can be cancelled.
//!     calls::cancel(conn, id)?;
//!     // Many, in one statement.
//!     let refund = |customer: &str| charge { customer: customer.to_owned(), cents: -100 };
//!     write_all(conn, ["ann", "bob", "eve"].map(refund))?;
//!     Ok(())
//! })
//! # }
//! # use diesel_outbox::{admin::Rows, migrations::Migrate};
//! # let conn = &mut SqliteConnection::establish(":memory:")?;
//! # conn.migrate()?;
//! # orders(conn)?;
//! # let counts = Rows::Calls.count(conn)?;
//! # assert_eq!((counts.waiting, counts.parked), (4, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Rolled back means never executed. A call with an id of its own ([`NewCall::id`]) is written once, however often the
//! write is retried. Calls with the same ordering key are executed one after another, in the order of writing.
//!
//! A program that only writes calls does not need the function: a struct that implements [`Call`] with the same name
//! and arguments is enough.

mod call;
mod cancel;
mod context;
pub(crate) mod encoding;
mod error;
#[cfg(feature = "calls")]
mod executor;
mod function;
mod new_call;
#[cfg(feature = "calls")]
mod registry;
mod state;

#[cfg(feature = "calls")]
pub use crate::engine::wake::Waker;
pub use crate::retry_policy::{RetryPolicy, RetryPolicyError, WhenExhausted};
pub use call::Call;
pub use cancel::cancel;
pub use context::{CallInfo, Context};
#[cfg(feature = "msgpack")]
pub use encoding::MessagePack;
pub use encoding::{Codec, Encoding, decode};
pub use error::{CallError, DecodeError};
#[cfg(feature = "calls")]
pub use executor::{
    CallEvent, Executor, ExecutorError, ExecutorMonitor, ExecutorStats, ExecutorStatus,
};
pub use function::{CallFuture, CallResult, Execute, Function, IntoCallResult};
pub use new_call::{IntoNewCall, NewCall, write_all};
#[cfg(feature = "calls")]
pub use registry::{Calls, CallsError};
pub use state::{MissingState, State, StateKey, States};
