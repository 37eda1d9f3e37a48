//! Addresses of MySQL and MariaDB, and advice on connection errors.

use crate::backend::address::{AddressError, server_url};

/// The URL for `establish`. Diesel accepts this scheme only.
pub(crate) fn normalized(_: &str, rest: Option<&str>) -> Result<String, AddressError> {
    server_url("mysql", rest.ok_or(AddressError::Unreadable)?)
}

/// The reason to refuse a connection that is not encrypted.
pub(crate) const NOT_ENCRYPTED: &str = "the connection is not encrypted, although ssl_mode in database_url \
    requires it: MariaDB's client library ignores ssl_mode; set ssl_ca to the file of the server's authority";

/// Whether the URL has an `ssl_mode` with which no connection without TLS may be made. MySQL's client library
/// enforces it.
pub(crate) fn asks_for_encryption(url: &str) -> bool {
    let (_, query) = url.split_once('?').unwrap_or_default();
    query.split('&').any(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            name == "ssl_mode"
                && ["required", "verify_ca", "verify_identity"]
                    .iter()
                    .any(|mode| value.eq_ignore_ascii_case(mode))
        })
    })
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
