//! Secrets in files, as containers mount them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longer than any secret.
const LONGEST: u64 = 64 * 1024;

/// Reads a file without the line breaks at its end.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it has more than 64 KiB"));
    }
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(text.to_owned())
}
