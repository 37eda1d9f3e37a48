//! Addresses of MySQL and MariaDB, and advice on connection errors.

use crate::backend::address::{AddressError, server_url};

/// The URL for `establish`. Diesel accepts this scheme only.
pub(crate) fn normalized(_: &str, rest: Option<&str>) -> Result<String, AddressError> {
    server_url("mysql", rest.ok_or(AddressError::Unreadable)?)
}

/// Advice on a connection's error, by its text in lower case.
pub(crate) fn advice(text: &str) -> Option<&'static str> {
    if text.contains("access denied for user") {
        Some(if text.contains("to database") {
            "give the user rights on the database, or check its name in database_url"
        } else {
            "check the user and the password in database_url"
        })
    } else if text.contains("unknown database") {
        Some("create the database, or check its name in database_url")
    } else {
        None
    }
}

/// The client library's errors quote no address.
pub(crate) fn advice_about_itself(_: &str) -> Option<&'static str> {
    None
}
