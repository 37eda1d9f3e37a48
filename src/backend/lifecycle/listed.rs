//! Rows as an operator sees them.

use chrono::{DateTime, Utc};

use super::Cursor;
use crate::backend::row_state::RowState;

/// A row of the outbox, without its headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The order of writing.
    pub seq: i64,
    /// The message's id as it is stored: another writer may store a text that is no UUID.
    pub id: String,
    /// Where the message goes, `.version` included.
    pub destination: String,
    /// The stream.
    pub stream: Option<String>,
    /// The ordering key.
    pub key: Option<String>,
    /// The state.
    pub state: RowState,
    /// How many attempts failed by the row's own fault.
    pub attempts: i32,
    /// When the row was written.
    pub added: DateTime<Utc>,
    /// When the lease of a leased row ends; before when a waiting row is not sent, if that is in the
    /// future.
    pub due_at: Option<DateTime<Utc>>,
    /// When the row expires, if it does.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the broker's receipt was recorded. A row that Django has sent has no such time.
    pub sent_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed, or why the row is parked.
    pub error: Option<String>,
    /// Whether later rows of its key wait for this one: it is leased, pauses after a failure, or is
    /// parked and was not skipped.
    pub blocks_key: bool,
}

impl Row {
    /// The cursor for the rows after this one.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            seq: self.seq,
            id: self.id.clone(),
        }
    }

    /// The cursor for the rows before this one in a list that begins with the latest.
    #[must_use]
    pub fn cursor_by_time(&self) -> Cursor {
        Cursor {
            seq: self.added.timestamp_micros(),
            id: self.id.clone(),
        }
    }
}

/// A row of the outbox with its headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowDetails {
    /// The row without them.
    pub row: Row,
    /// The headers as JSON text. On SQLite they are what the writer stored, which may be no JSON.
    pub headers: String,
    /// The body as JSON text. On SQLite it is what the writer stored, which may be no JSON.
    pub body: String,
    /// The signature as it is stored; none: the row is not signed. It is not verified here. The text
    /// begins with `v1:` and the id of the key: `docs/signing.md`.
    pub signature: Option<String>,
    /// The id of the first earlier row that blocks this one, which waits: it has the same key, and is leased, not
    /// due or parked. A key that a rule of a relay gives is seen after the first claim.
    pub blocked_by: Option<String>,
}
