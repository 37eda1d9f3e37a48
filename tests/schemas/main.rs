//! One outbox is one schema of PostgreSQL, and several in one database know nothing of each other.
#![cfg(all(feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod claims;
mod migrations;
mod notifications;
mod place;
mod programs;
mod rights;
mod statements;

use outbox_test_support as support;
