//! A transactional outbox and an idempotent inbox for services on Diesel, over STOMP.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod message;
mod publish;

pub mod backend;
pub mod config;
pub mod correlation;
pub mod headers;
pub mod logging;
pub mod migrations;
pub mod schema;

pub use error::{Error, MessageError};
pub use message::Message;
pub use publish::{Publish, PublishDsl, Save, SaveOn, publish, save};

pub use diesel_outbox_derive::Publish;

/// What the derive's expansion names; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::publish::key::IntoKey;
    pub use diesel;
    pub use serde_json;
}
