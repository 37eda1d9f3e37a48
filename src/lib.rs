//! A transactional outbox and an idempotent inbox for services on Diesel, over STOMP.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod apart;
mod builtin;
mod cleanup;
mod current_schema;
mod dead_letters;
mod error;
mod message;
mod outage;
mod outgoing;
mod payload;
mod permanent;
mod process_group;
mod producer;
mod publish;
mod registry;
mod shutdown;

pub mod backend;
pub mod cli;
pub mod config;
pub mod correlation;
pub mod db;
pub mod headers;
pub mod logging;
pub mod migrations;
pub mod relay;
pub mod schema;
pub mod stomp;
pub mod subscriber;
#[cfg(feature = "testing")]
pub mod testing;

pub use builtin::{ExecError, RunError};
pub use cleanup::Cleaned;
pub use current_schema::{in_schema, set_schema};
pub use error::{Error, MessageError};
pub use message::Message;
pub use payload::{Duplicate, Json, Meta, Payload, Proof};
pub use permanent::Permanent;
pub use producer::{Producer, SendError};
pub use publish::{
    Operation, Publish, PublishDsl, Save, SaveOn, cancel, publish, publish_as, save, save_as,
};
pub use registry::{BoxError, Outcome, Registry, RegistryError};
pub use shutdown::Shutdown;

pub use diesel_outbox_derive::Publish;

/// The Rust in the documentation compiles.
#[cfg(all(doctest, feature = "sqlite"))]
mod documentation {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../docs/from-django-outbox-pattern.md")]
    struct FromDjango;
    #[doc = include_str!("../docs/guarantees.md")]
    struct Guarantees;
    #[doc = include_str!("../docs/stomp.md")]
    struct Stomp;
}

/// What the derive's expansion names; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::publish::key::IntoKey;
    #[cfg(feature = "mysql")]
    pub use crate::publish::returning::{is_primary_key, last_insert_id};
    pub use diesel;
    pub use serde_json;
}
