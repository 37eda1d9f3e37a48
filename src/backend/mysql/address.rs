//! Addresses of MySQL and MariaDB, and advice on connection errors.

use crate::backend::address::{AddressError, server_url};

/// The URL for `establish`. Diesel accepts this scheme only.
pub(crate) fn normalized(_: &str, rest: Option<&str>) -> Result<String, AddressError> {
    server_url("mysql", rest.ok_or(AddressError::Unreadable)?)
}

/// The reason to refuse a connection that is not encrypted.
pub(crate) const NOT_ENCRYPTED: &str = "the connection is not encrypted, although ssl_mode, ssl_ca, ssl_cert or ssl_key \
    in database_url requires it: turn TLS on in the server, and set ssl_ca to the file of the server's authority \
    (MariaDB's client library ignores ssl_mode, and connects without TLS if the server has none)";

/// Whether the URL has settings with which no connection without TLS may be made: an `ssl_mode` that says so, or an
/// authority or a certificate, unless `ssl_mode` says otherwise. MySQL's client library enforces `ssl_mode`.
pub(crate) fn asks_for_encryption(url: &str) -> bool {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(found, value)| (found == name && !value.is_empty()).then_some(value))
    };
    match value("ssl_mode") {
        Some(mode) => ["required", "verify_ca", "verify_identity"]
            .iter()
            .any(|other| mode.eq_ignore_ascii_case(other)),
        None => ["ssl_ca", "ssl_cert", "ssl_key"]
            .iter()
            .any(|name| value(name).is_some()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_tls_ask_for_encryption() {
        for (query, expected) in [
            ("", false),
            ("?ssl_mode=preferred", false),
            ("?ssl_mode=VERIFY_CA", true),
            ("?ssl_ca=/ca.pem", true),
            ("?a=b&ssl_cert=c.pem&ssl_key=k.pem", true),
            ("?ssl_ca=", false),
            ("?ssl_ca=/ca.pem&ssl_mode=disabled", false),
        ] {
            let url = format!("mysql://host/outbox{query}");
            assert_eq!(asks_for_encryption(&url), expected, "{url}");
        }
    }
}
