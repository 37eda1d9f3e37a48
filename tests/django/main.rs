//! With django-outbox-pattern itself: its tables adopted and given back, its messages sent by us,
//! ours by it, one queue consumed by both.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, dead_code)]

#[path = "../processes/listener.rs"]
mod listener;
#[path = "../processes/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../processes/world.rs"]
mod world;

mod adoption;
mod pairing;
mod service;
mod settings;

use world::World;
