//! With Celery itself: its workers run tasks of the outbox, and its clients call tasks of a subscriber.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod clients;
mod python;
mod refused;
mod scheduled;
mod workers;
mod world;

use outbox_test_support as support;
