//! Addresses of PostgreSQL, and advice on connection errors.

use crate::backend::address::{AddressError, server_url};
use crate::config::conninfo;

/// The address for `establish`. libpq and Diesel accept these spellings only.
pub(crate) fn normalized(text: &str, rest: Option<&str>) -> Result<String, AddressError> {
    match rest {
        Some(rest) => server_url("postgres", rest),
        None => {
            conninfo::parameters(text).ok_or(AddressError::Unreadable)?;
            Ok(text.to_owned())
        }
    }
}

/// Advice on a connection's error, by its text in lower case.
pub(crate) fn advice(text: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().all(|word| text.contains(word));
    if says(&["role ", "does not exist"])
        || says(&["role ", "is not permitted to log in"])
        || says(&["authentication failed"])
        || says(&["no password supplied"])
    {
        Some("check the user and the password in database_url")
    } else if says(&["database ", "does not exist"]) {
        Some("create the database, or check its name in database_url")
    } else if says(&["permission denied for database"]) {
        Some("give the user the right CONNECT on the database")
    } else if says(&["no pg_hba.conf entry"]) {
        Some("allow it in the server's pg_hba.conf, or set sslmode in database_url")
    } else if says(&["server does not support ssl"]) {
        Some("turn TLS on in the server, or check sslmode in database_url")
    } else if says(&["ssl error: certificate"])
        || says(&["server certificate for "])
        || says(&["root certificate file "])
    {
        Some(
            "check sslrootcert in database_url, and the dates and the names of the server's certificate",
        )
    } else {
        None
    }
}

/// The beginnings of libpq's errors about the address itself, which quote a part of it: `fe-connect.c`.
const ABOUT_THE_ADDRESS: [&str; 12] = [
    "missing ",
    "invalid uri",
    "invalid percent-encoded token",
    "invalid integer value",
    "invalid connection option",
    "invalid port number",
    "forbidden value",
    "unexpected character",
    "unexpected spaces",
    "unterminated quoted string",
    "end of string reached",
    "extra key/value separator",
];

/// Advice if libpq cannot parse the address: its error quotes a part of it, so it is not shown.
pub(crate) fn advice_about_itself(error: &str) -> Option<&'static str> {
    let text = error.trim_start().to_ascii_lowercase();
    let is_about_the_address = ABOUT_THE_ADDRESS
        .iter()
        .any(|start| text.starts_with(start));
    is_about_the_address.then_some(
        "invalid connection option: libpq cannot read database_url (its value is not shown); check \
         the names of its parameters, and write / ? # @ % in a password as %2F %3F %23 %40 %25",
    )
}
