//! With django-outbox-pattern itself: its tables adopted and given back, its messages sent by us,
//! ours by it, one queue consumed by both. With django-jaiminho: its settings, and the way from it to us.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, dead_code)]

#[path = "../support/counts.rs"]
mod counts;
#[path = "../processes/listener.rs"]
mod listener;
#[path = "../processes/world.rs"]
mod world;

mod adoption;
mod jaiminho;
mod pairing;
mod service;
mod settings;

use outbox_test_support as support;
use outbox_test_support::program;

use world::World;
