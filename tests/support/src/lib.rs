//! What the suites share: databases and servers of a test's own, a network with faults, captured logs.
#![allow(missing_debug_implementations)] // nobody prints them
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

pub mod amqp;
pub mod clock;
mod database;
pub mod http;
pub mod log;
pub mod network;
pub mod own;
pub mod program;
mod ran;
pub mod virtual_host;

pub use database::{
    TestDatabase, has_mysqls_client_library, mysql, postgres, postgres_in_latin1, sqlite,
};
pub use ran::Ran;

/// The address in this variable. `None`, with a word on standard error, if it is not set or empty and
/// nothing is required.
pub fn server(variable: &str, name: &str) -> Option<String> {
    if let Ok(url) = std::env::var(variable)
        && !url.is_empty()
    {
        return Some(url);
    }
    let required = std::env::var_os("OUTBOX_TEST_REQUIRE_ALL").is_some();
    assert!(!required, "{variable} is not set; run `make test`");
    eprintln!("skipped: {name} (set {variable}, or run `make test`)");
    None
}
