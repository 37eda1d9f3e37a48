//! The programs on a command line: their output, their errors, and what they never print.
#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod addresses;
mod arguments;
mod once;
mod outputs;
mod ran;
mod secret_files;
mod terminal;

use outbox_test_support as support;

use ran::{OUTBOX, PUBLISH, SUBSCRIBE, program, ran};
