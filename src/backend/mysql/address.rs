//! Addresses of MySQL and MariaDB, and advice on connection errors.

use crate::backend::address::{AddressError, server_url};

/// The URL for `establish`. Diesel accepts this scheme only.
///
/// An authority without a mode gets `ssl_mode=verify_ca`: in its own default mode, `preferred`, MySQL's client library
/// logs in without TLS if the server has none. MariaDB's ignores the mode.
pub(crate) fn normalized(_: &str, rest: Option<&str>) -> Result<String, AddressError> {
    let mut url = server_url("mysql", rest.ok_or(AddressError::Unreadable)?)?;
    if parameter(&url, "ssl_ca").is_some() && parameter(&url, "ssl_mode").is_none() {
        url.push_str("&ssl_mode=verify_ca");
    }
    Ok(url)
}

/// A parameter's value, if it is not empty. Of several with this name Diesel takes the last one.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let named = url::form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found == name);
    let (_, value) = named.last()?;
    (!value.is_empty()).then(|| value.into_owned())
}

/// The reason to refuse a connection that is not encrypted.
pub(crate) const NOT_ENCRYPTED: &str = "the connection is not encrypted, although ssl_mode, ssl_ca, ssl_cert or ssl_key \
    in database_url requires it: turn TLS on in the server, and set ssl_ca to the file of the server's authority \
    (MariaDB's client library ignores ssl_mode, and connects without TLS if the server has none)";

/// Whether the URL has settings with which no connection without TLS may be made: an `ssl_mode` that says so, or an
/// authority or a certificate, unless `ssl_mode` says otherwise. MySQL's client library enforces `ssl_mode`.
pub(crate) fn asks_for_encryption(url: &str) -> bool {
    match parameter(url, "ssl_mode") {
        Some(mode) => ["required", "verify_ca", "verify_identity"]
            .iter()
            .any(|other| mode.eq_ignore_ascii_case(other)),
        None => ["ssl_ca", "ssl_cert", "ssl_key"]
            .iter()
            .any(|name| parameter(url, name).is_some()),
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
    } else if super::refusals::EXPIRED
        .iter()
        .any(|words| text.contains(words))
    {
        Some("give the user a new password, and set it in database_url")
    } else if text.contains(super::refusals::PROHIBITS_CLEAR_TEXT) {
        Some("set ssl_ca in database_url to the file of the server's authority")
    } else if text.contains("plugin '") && text.contains(" is not loaded") {
        Some("give the user a method of authentication that the server has")
    } else if text.contains("client does not support authentication protocol") {
        Some("give the user a method of authentication that the client library has")
    } else if text.contains(super::refusals::NEEDS_ENCRYPTION) {
        Some(
            "log in with TLS: turn it on in the server, and do not set ssl_mode to disabled in database_url",
        )
    } else if text.contains(super::refusals::HAS_NO_TLS) {
        Some("turn TLS on in the server, or check ssl_mode in database_url")
    } else if text.contains(super::refusals::NEEDS_AUTHORITY) {
        Some("set ssl_ca in database_url to the file of the server's authority")
    } else if text.contains("certificate")
        && (text.contains("tls/ssl error") || text.contains("ssl connection error"))
    {
        Some(
            "check ssl_ca, ssl_cert and ssl_key in database_url, and the dates and the name of the server's certificate",
        )
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
            ("?ssl_mode=disabled&ssl_mode=verify%5Fca", true),
        ] {
            let url = format!("mysql://host/outbox{query}");
            assert_eq!(asks_for_encryption(&url), expected, "{url}");
        }
    }

    #[test]
    fn an_authority_requires_tls() {
        for (query, expected) in [
            ("", ""),
            ("?ssl_ca=/ca.pem", "?ssl_ca=/ca.pem&ssl_mode=verify_ca"),
            ("?ssl_ca=", "?ssl_ca="),
            (
                "?ssl_mode=preferred&ssl_ca=/ca.pem",
                "?ssl_mode=preferred&ssl_ca=/ca.pem",
            ),
            ("?ssl_key=/key.pem", "?ssl_key=/key.pem"),
        ] {
            let url = normalized("", Some(&format!("//host/outbox{query}")));
            assert_eq!(url, Ok(format!("mysql://host/outbox{expected}")));
        }
    }
}
