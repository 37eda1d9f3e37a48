//! What lies in the outbox, for tests to look at.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::backend::{AsBackend, SUCCEEDED};
use crate::error::Error;
use crate::schema::{Document, Id};

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PublishedRow {
    /// The message's id.
    pub id: Uuid,
    /// Where it goes, version included.
    pub destination: String,
    /// Its body.
    pub body: Value,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its ordering key.
    pub key: Option<String>,
    /// Its stream.
    pub stream: Option<String>,
    /// Whether a broker has it.
    pub is_sent: bool,
}

impl PublishedRow {
    #[allow(clippy::type_complexity)] // the columns, in their order
    pub(crate) fn of(
        (id, destination, body, headers, key, stream, status): (
            Id,
            String,
            Document,
            Document,
            Option<String>,
            Option<String>,
            i32,
        ),
    ) -> Self {
        let headers = match headers.0 {
            Value::Object(headers) => headers,
            _ => serde_json::Map::new(),
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self {
            id: id.0,
            destination,
            body: body.0,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect(),
            key,
            stream,
            is_sent: status == SUCCEEDED,
        }
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// All rows of the outbox, in the order in which they were written.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::{Connection, SqliteConnection};
/// use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::{Message, testing};
///
/// let mut conn = SqliteConnection::establish(":memory:")?;
/// conn.migrate()?;
/// Message::new("/queue/mail", "hello").key("ann".to_owned()).publish(&mut conn)?;
///
/// let rows = testing::published(&mut conn)?;
/// assert_eq!(rows.len(), 1);
/// assert_eq!(rows[0].body, "hello");
/// assert_eq!(rows[0].key.as_deref(), Some("ann"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the database refuses.
pub fn published<C: AsBackend>(conn: &mut C) -> Result<Vec<PublishedRow>, Error> {
    use crate::backend::Upkeep as _;

    Ok(conn.as_backend().published_rows()?)
}
