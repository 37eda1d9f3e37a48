//! The setup of a session on SQLite.

use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Integer;
use percent_encoding::percent_decode_str;

use crate::backend::qualify::RunQueryDsl;
use crate::backend::session::{Purpose, Session};
use crate::config::Config;

pub(crate) fn new(config: &Config, _: Purpose) -> Session {
    Session {
        // Writers take turns: wait for the other's commit instead of failing at once.
        setup: format!(
            "pragma busy_timeout = {}",
            config.database_timeout.as_millis().clamp(1, 600_000)
        ),
        is_needed: true,
        complete,
        missing_file,
        ..Session::default()
    }
}

/// A statement that gives the session its present settings back.
pub(super) fn settings(conn: &mut SqliteConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Settings {
        #[diesel(sql_type = Integer)]
        timeout: i32,
    }

    let settings: Settings = diesel::sql_query("pragma busy_timeout").get_result(conn)?;
    Ok(format!("pragma busy_timeout = {}", settings.timeout))
}

fn complete(session: &Session, path: &str) -> String {
    if session.creates_file {
        path.to_owned()
    } else {
        existing_file(path)
    }
}

/// The file of an SQLite database, if it must exist and does not.
fn missing_file(path: &str) -> Option<String> {
    let file = path.strip_prefix("file:").unwrap_or(path);
    let file = if file.len() < path.len() {
        let place = file.split(['?', '#']).next().unwrap_or_default();
        let place = place.strip_prefix("//").unwrap_or(place);
        percent_decode_str(place).decode_utf8_lossy().into_owned()
    } else {
        file.to_owned()
    };
    (!Path::new(&file).exists()).then_some(file)
}

/// The URI of an SQLite database that does not create the file: <https://www.sqlite.org/uri.html>.
fn existing_file(path: &str) -> String {
    if path.starts_with("file:") {
        let (place, fragment) = path.split_once('#').unwrap_or((path, ""));
        let (_, query) = place.split_once('?').unwrap_or((place, ""));
        if query.split('&').any(|pair| pair.starts_with("mode=")) {
            return path.to_owned();
        }
        let separator = if place.contains('?') { '&' } else { '?' };
        let fragment = if fragment.is_empty() {
            ""
        } else {
            &path[place.len()..]
        };
        return format!("{place}{separator}mode=rw{fragment}");
    }
    let path = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let authority = if path.starts_with('/') { "//" } else { "" };
    format!("file:{authority}{path}?mode=rw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        for (path, expected) in [
            ("shop.db", "file:shop.db?mode=rw"),
            ("/tmp/shop.db", "file:///tmp/shop.db?mode=rw"),
            ("a?b#c%d", "file:a%3fb%23c%25d?mode=rw"),
            ("file:shop.db", "file:shop.db?mode=rw"),
            (
                "file:shop.db?cache=shared#x",
                "file:shop.db?cache=shared&mode=rw#x",
            ),
            ("file:shop.db?mode=ro", "file:shop.db?mode=ro"),
        ] {
            assert_eq!(existing_file(path), expected);
        }
    }
}
