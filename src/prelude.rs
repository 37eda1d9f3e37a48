//! What a file that writes or handles messages imports: `use diesel_outbox::prelude::*;`.
//!
//! It goes with `use diesel::prelude::*;`; the two have no name in common. The functions
//! [`save`](crate::save()), [`publish`](crate::publish()) and [`cancel`](crate::cancel()) are not in it:
//! call them as `outbox::publish(…)`, after `use diesel_outbox as outbox;`.
//!
//! ```
//! use diesel::prelude::*;
//! use diesel_outbox::prelude::*;
//!
//! # diesel::table! { orders (id) { id -> Integer, total -> BigInt, } }
//! #[derive(Queryable, Selectable, Identifiable, Publish)]
//! #[diesel(table_name = orders)]
//! #[publish(destination = "/topic/orders", key = id)]
//! struct Order {
//!     id: i32,
//!     total: i64,
//! }
//! ```

pub use crate::calls::Call;
pub use crate::{BoxError, Message, Operation, Permanent, Publish, PublishDsl, Save, outboxed};

#[cfg(feature = "stomp")]
pub use crate::Producer;
#[cfg(feature = "subscriber")]
pub use crate::{Json, Meta, Outcome, Payload, Proof, Registry};
