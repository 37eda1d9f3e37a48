//! What the derived code does: the messages it makes, and the rows it writes.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accepted;
mod calls;
mod messages;
mod models;
mod rows;
mod schema;
