//! Rows as an operator sees them, and which of them are meant.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::row_state::RowState;

/// Which rows are listed: those that meet all conditions. [`Filter::new`] accepts every row.
///
/// ```
/// use diesel_outbox::admin::{Filter, RowState};
///
/// let refused = Filter::new()
///     .state(RowState::Parked)
///     .destination("/topic/orders.v1")
///     .error("precondition_failed");
/// # let _ = refused;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub(super) states: Vec<RowState>,
    pub(super) stream: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) key: Option<String>,
    pub(super) error: Option<String>,
}

impl Filter {
    /// Accepts every row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows in this state; if it is called several times, rows in one of these states. `Sent` and `Executed` are
    /// the same.
    #[must_use]
    pub fn state(mut self, state: RowState) -> Self {
        self.states.push(state);
        self
    }

    /// Rows of this stream.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Rows with this destination, `.version` included.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Rows with this ordering key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Rows whose error contains this text, in the same case. `%` and `_` have no special meaning.
    #[must_use]
    pub fn error(mut self, part: impl Into<String>) -> Self {
        self.error = Some(part.into());
        self
    }
}

/// The place between two pages: after the row with this `seq` and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The order of writing. It is not unique for rows that Django had sent before it was adopted.
    pub seq: i64,
    /// The row's id.
    pub id: String,
}

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
}
