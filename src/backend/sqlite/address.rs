//! Addresses of SQLite: paths, and URIs that begin with `file:`.

use crate::backend::address::AddressError;

/// The path or URI for `establish`.
pub(crate) fn normalized(text: &str, rest: Option<&str>) -> Result<String, AddressError> {
    let path = match rest {
        Some(rest) if !text.to_ascii_lowercase().starts_with("file:") => {
            rest.strip_prefix("//").unwrap_or(rest)
        }
        _ => text,
    };
    if path.is_empty() || path == ":memory:" || path.contains("mode=memory") {
        return Err(AddressError::InMemory);
    }
    Ok(path.to_owned())
}

/// A missing file has its own error: see `missing_file`.
pub(crate) fn advice(_: &str) -> Option<&'static str> {
    None
}

/// SQLite's errors quote no address.
pub(crate) fn advice_about_itself(_: &str) -> Option<&'static str> {
    None
}
