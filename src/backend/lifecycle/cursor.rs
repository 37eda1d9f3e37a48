//! The place between two pages.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::dialect::Dialect;
use crate::backend::names;

/// The place between two pages: after the row with this `seq` and id.
///
/// As text it has only letters, digits, `.`, `-` and `~`, whatever the id holds.
///
/// ```
/// use diesel_outbox::admin::Cursor;
///
/// let cursor = Cursor { seq: 7, id: "order 7".to_owned() };
/// let text = cursor.to_string();
/// assert_eq!(text, "7.~6f726465722037");
/// assert_eq!(text.parse::<Cursor>()?, cursor);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The order of writing. It is not unique for rows that Django had sent before it was adopted. In the
    /// inbox: the microseconds from 1970 to the time at which the message was handled.
    pub seq: i64,
    /// The row's id.
    pub id: String,
}

/// A text is not that of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: a page prints the cursor of the next one")]
pub struct CursorError;

/// What precedes an id that is written in hexadecimal.
const ENCODED: char = '~';

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if self.id.bytes().all(is_plain) {
            return write!(f, "{}.{}", self.seq, self.id);
        }
        write!(f, "{}.{ENCODED}", self.seq)?;
        self.id.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (seq, id) = text.split_once('.').ok_or(CursorError)?;
        let seq = seq.parse().map_err(|_| CursorError)?;
        let id = match id.strip_prefix(ENCODED) {
            Some(digits) => decoded(digits).ok_or(CursorError)?,
            None => id.to_owned(),
        };
        Ok(Self { seq, id })
    }
}

/// The text of its bytes in hexadecimal.
fn decoded(digits: &str) -> Option<String> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = (0..digits.len()).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

impl Cursor {
    /// The condition for rows after this one, in the order of `seq` and `id`.
    pub(super) fn condition<C: Dialect>(&self) -> String {
        if C::HAS_TEXT_IDS {
            return format!("seq > {}", self.seq);
        }
        // `seq` is not unique: rows that Django had sent before the adoption have 0.
        let id: Uuid = names::uuid(&self.id).unwrap_or_default();
        format!("(seq, id) > ({}, '{id}')", self.seq)
    }

    /// The condition for rows before this one, in the order of `added` and `id`; `None` if there can be none. `seq` are
    /// microseconds then. The first part is one that each database finds by its index.
    pub(super) fn earlier<C: Dialect>(&self) -> Option<String> {
        let time = C::time_literal(DateTime::from_timestamp_micros(self.seq)?);
        let id = if C::HAS_TEXT_IDS {
            C::id_literal(&self.id).filter(|_| !self.id.contains('\0'))?
        } else {
            format!("'{}'", names::uuid(&self.id).unwrap_or_default())
        };
        Some(format!("added <= {time} and (added < {time} or id < {id})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_from_its_text() {
        for id in ["", "a-1", "\u{1b}[2J'\"$x", "é~.", "~"] {
            for seq in [0, 7, -1, i64::MAX] {
                let id = id.to_owned();
                let cursor = Cursor { seq, id };
                let text = cursor.to_string();
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-~".contains(&byte);
                assert!(text.bytes().all(is_plain), "{text}");
                assert_eq!(text.parse(), Ok(cursor));
            }
        }
        for text in ["", "7", "x.a", "1.~6", "1.~zz", "1.~ff", "1.~é"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
