//! The programs as processes of their own, killed and cut off, on PostgreSQL and RabbitMQ.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod deadly;
mod kill;
mod large;
mod listener;
mod mistakes;
mod poison;
mod prefetch;
mod program;
mod programs;
mod proxy;
mod schemas;
mod signals;
mod streams;
mod tls;
mod world;

use world::World;
