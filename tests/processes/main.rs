//! The programs as processes of their own, killed and cut off, on PostgreSQL and RabbitMQ.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/counts.rs"]
mod counts;
mod deadly;
mod kill;
mod large;
mod listener;
mod listening;
mod metrics;
mod mistakes;
mod monitoring;
mod poison;
mod pooler;
mod prefetch;
mod programs;
mod proxy;
mod schemas;
mod serializable;
#[cfg(feature = "mysql")]
mod server_settings;
mod service_manager;
mod signals;
mod streams;
mod time_limits;
mod tls;
mod world;

use outbox_test_support as support;
use outbox_test_support::own;
use outbox_test_support::program;

use world::World;
