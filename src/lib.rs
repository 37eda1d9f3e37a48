//! A transactional outbox and an idempotent inbox for Rust services on [Diesel](https://diesel.rs), over
//! STOMP (RabbitMQ, ActiveMQ), on PostgreSQL, MySQL, MariaDB and SQLite.
//!
//! Saving a model writes its messages to the table `published` (the outbox) in the same transaction: rolled back
//! means never sent. The program `publish` (the relay) sends them, and counts a message as sent only after the
//! broker's receipt for it. The program `subscribe` calls your function (the callback) in the transaction that
//! records the message in the table `received` (the inbox). If a message is delivered twice, its effect in the
//! database happens once.
//!
//! ```text
//!   your service                    publish                       subscribe
//! +-------------------------+                                  +---------------------------+
//! | INSERT INTO orders …    |                                  | INSERT INTO received …    |
//! | INSERT INTO published … |     +---------+     +--------+   | your callback(conn, …)    |
//! | COMMIT                  | --> |  relay  | --> | broker | ->| COMMIT                    |
//! +-------------------------+     +---------+     +--------+   +---------------------------+
//!   one transaction                    <- RECEIPT ---+  ^- ACK --- one transaction
//! ```
//!
//! # A first example
//!
//! A model that is published whenever it is saved. The documentation of the [derive](derive@Publish) lists
//! everything that the attribute `publish` accepts:
//!
//! ```
//! use diesel::prelude::*;
//! use diesel_outbox::prelude::*;
//!
//! diesel::table! {
//!     orders (id) { id -> Integer, customer -> Text, total -> BigInt, }
//! }
//!
//! #[derive(Queryable, Selectable, Identifiable, Publish)]
//! #[diesel(table_name = orders)]
//! #[publish(destination = "/topic/orders", fields(customer, total), version = "v1", key = id)]
//! struct Order {
//!     id: i32,
//!     customer: String,
//!     total: i64,
//! }
//!
//! #[derive(Insertable, Publish)]
//! #[diesel(table_name = orders)]
//! #[publish(model = Order)]
//! struct NewOrder<'a> {
//!     customer: &'a str,
//!     total: i64,
//! }
//!
//! # #[cfg(feature = "sqlite")]
//! fn create(conn: &mut SqliteConnection) -> Result<Order, diesel_outbox::Error> {
//!     // INSERT INTO orders and INSERT INTO published, in one transaction.
//!     let mut order = NewOrder { customer: "ann", total: 12 }.save(conn)?;
//!     order.total = 13;
//!     // UPDATE orders and INSERT INTO published.
//!     order.save(conn)
//! }
//! # #[cfg(all(feature = "sqlite", feature = "testing"))] {
//! # use diesel::connection::SimpleConnection;
//! # use diesel_outbox::{migrations::Migrate, testing};
//! # let conn = &mut SqliteConnection::establish(":memory:")?;
//! # conn.migrate()?;
//! # conn.batch_execute("create table orders (id integer primary key, customer text not null, total bigint not null)")?;
//! # create(conn)?;
//! # let rows = testing::published_to(conn, "/topic/orders.v1")?;
//! # assert_eq!(rows.len(), 2);
//! # assert_eq!(rows[1].body, serde_json::json!({"id": 1, "customer": "ann", "total": 13}));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program `subscribe` with a callback of your own. Its arguments are the callback, the destination and the
//! queue: `subscribe bill /topic/orders.v1 billing`. `.v1` is the `version` of the model above:
//!
//! ```no_run
//! # #[cfg(all(feature = "sqlite", feature = "cli"))] mod shown {
//! use diesel::prelude::*;
//! use diesel_outbox::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     id: i32,
//! }
//!
//! fn bill(conn: &mut SqliteConnection, Json(order): Json<Order>, _: &Meta) -> Result<Outcome, BoxError> {
//!     diesel::sql_query("insert into bills (order_id) values (?)")
//!         .bind::<diesel::sql_types::Integer, _>(order.id)
//!         .execute(conn)?;
//!     Ok(Outcome::Done)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     diesel_outbox::cli::subscribe(Registry::<SqliteConnection>::new().on_json("bill", bill))
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | what to import | [`prelude`] |
//! | writing messages | [`Publish`](derive@Publish), [`Save`], [`PublishDsl`], [`Operation`], [`save`](save()), [`publish`](publish()), [`Message`], [`cancel`] |
//! | the tables | [`migrations::Migrate`], or the program `outbox migrate` |
//! | sending in your own process | [`relay::Relay`], woken by [`relay::OnCommit`] |
//! | handling messages | [`Registry`], [`Payload`], [`Outcome`], [`subscriber::Subscriber`] |
//! | programs of your own | [`cli`] |
//! | Celery, in both directions | [`CeleryTask`], [`Registry::on_celery`], [`guide::celery`] |
//! | checking a deployment | [`doctor`] |
//! | operations: status, retry, cancel, dead letters | [`admin`], in a browser [`web`], [`guide::web`] |
//! | straight to the broker | [`Producer`], [`stomp`] |
//! | metrics | [`metrics`](mod@metrics), [`guide::metrics`] |
//! | traces | [`traces`], [`guide::traces`] |
//! | settings | [`config::Config`], [`guide::configuration`] |
//! | tests of your service | [`testing`] |
//! | what is promised, and the limits | [`guide::guarantees`] |
//! | running it | [`guide::production`], [`guide::operations`], [`guide::databases`], [`guide::brokers`] |
//! | use together with django-outbox-pattern, or instead of it | [`guide::from_django_outbox_pattern`] |
//!
//! # Features
//!
//! There are no default features. A service that only writes needs a database and nothing else.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `postgres`, `mysql`, `sqlite` | the derive, `save`, `Message`, migrations, for that database |
//! | `postgres-bundled`, `mysql-bundled` | the same, with the client library compiled in |
//! | `msgpack` | [`calls::MessagePack`], another encoding of the arguments of calls |
//! | `stomp` | the STOMP client, [`Producer`], the settings |
//! | `relay` | [`relay::Relay`] |
//! | `calls` | [`calls::Executor`], which executes function calls, and [`transaction`], which executes them right after the commit; includes `relay` |
//! | `subscriber` | [`subscriber::Subscriber`], [`Registry`] |
//! | `tls` | TLS to the broker |
//! | `cli` | the programs, and [`cli::subscribe`] and [`cli::calls`]; includes `relay`, `calls`, `subscriber`, `tls` and `metrics` |
//! | `metrics` | [`metrics`](mod@metrics): counters, gauges and histograms through the crate `metrics` |
//! | `web` | [`web`]: pages for operators, as a router of axum, and with `cli` the command `outbox web`; includes `relay` and `subscriber` |
//! | `testing` | [`testing`]: helpers for your tests, and a broker inside the process |
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The parts that `relay` and `subscriber` share are not all used by each alone; `cli` uses all.
#![cfg_attr(
    all(feature = "stomp", not(feature = "cli")),
    allow(dead_code, unused_imports)
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(feature = "stomp")]
mod broker;
#[cfg(feature = "subscriber")]
mod callback;
mod celery;
mod column_widths;
mod current_schema;
#[cfg(feature = "relay")]
mod engine;
mod error;
#[cfg(any(feature = "subscriber", feature = "calls"))]
mod error_text;
#[cfg(any(feature = "cli", feature = "web"))]
mod http_client;
mod json;
mod message;
mod moment;
mod pending_row;
mod permanent;
#[cfg(feature = "stomp")]
mod producer;
mod publish;
mod retry_policy;
#[cfg(feature = "stomp")]
mod runtime;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod status;
#[cfg(feature = "stomp")]
mod terminal;

pub mod admin;
pub mod backend;
pub mod calls;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "stomp")]
pub mod config;
pub mod correlation;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub mod db;
#[cfg(feature = "cli")]
pub mod doctor;
// Its examples need these features, the pages do not.
#[cfg_attr(docsrs, doc(auto_cfg = false))]
#[cfg(all(
    doc,
    any(
        not(doctest),
        all(
            feature = "sqlite",
            feature = "postgres",
            feature = "cli",
            feature = "testing"
        )
    )
))]
pub mod guide;
pub mod headers;
#[cfg(feature = "metrics")]
#[cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[allow(dead_code, unused_imports, unreachable_pub)] // the handles do nothing
mod metrics;
pub mod migrations;
pub mod prelude;
#[cfg(feature = "relay")]
pub mod relay;
pub mod schema;
pub mod signing;
#[cfg(feature = "stomp")]
pub mod stomp;
#[cfg(feature = "subscriber")]
pub mod subscriber;
#[cfg(feature = "testing")]
pub mod testing;
pub mod traces;
#[cfg(feature = "web")]
pub mod web;

#[cfg(feature = "subscriber")]
pub use callback::{
    Celery, CeleryError, Duplicate, ExecError, IntoOutcome, Json, Meta, Outcome, Payload, Proof,
    Registry, RegistryError, RunError,
};
#[cfg(feature = "calls")]
pub use calls::transaction;
pub use celery::{CeleryTask, CeleryTaskError};
pub use current_schema::{in_schema, set_schema};
pub use error::{BoxError, Error, MessageError};
pub use message::Message;
pub use permanent::Permanent;
#[cfg(feature = "stomp")]
pub use producer::{Producer, SendError};
pub use publish::{Operation, Publish, PublishDsl, Save, SaveOn, cancel, publish, save};
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub use runtime::cleanup::Cleaned;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub use runtime::shutdown::Shutdown;

pub use diesel_outbox_derive::{Publish, outboxed};

/// The Rust in the README compiles.
#[cfg(all(doctest, feature = "postgres", feature = "cli", feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Items that the derive's code uses; not for use by hand.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "mysql")]
    pub use crate::backend::mysql::insert_id::{
        forget_insert_id, found_again, is_primary_key, last_insert_id, same_key,
    };
    pub use crate::json::to_value;
    pub use crate::publish::ordering_key::IntoKey;
    pub use diesel;
    pub use serde;
    pub use serde_json;
    pub use uuid;
}
