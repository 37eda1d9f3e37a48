//! Reads the outbox, for tests.

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
    /// Its destination, version included.
    pub destination: String,
    /// Its body.
    pub body: Value,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its ordering key.
    pub key: Option<String>,
    /// Its stream.
    pub stream: Option<String>,
    /// Whether a broker has confirmed it.
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

    /// The value of the header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Returns all rows of the outbox, in the order in which they were written.
///
/// Tests that run in parallel on one database see each other's rows: use [`published_to`] with a
/// destination of the test's own, or a transaction that is rolled back.
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
/// [`Error`] if the database fails, such as without the outbox's tables.
pub fn published<C: AsBackend>(conn: &mut C) -> Result<Vec<PublishedRow>, Error> {
    use crate::backend::Maintenance as _;

    Ok(conn.as_backend().published_rows()?)
}

/// Returns the rows of the outbox with this destination, in the order in which they were written.
///
/// The destination is compared with the version included, as in [`PublishedRow::destination`].
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::{Connection, SqliteConnection};
/// use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::{Message, testing};
///
/// let mut conn = SqliteConnection::establish(":memory:")?;
/// conn.migrate()?;
/// Message::new("/topic/orders", 7).version("v1").publish(&mut conn)?;
/// Message::new("/queue/mail", "hello").publish(&mut conn)?;
///
/// let orders = testing::published_to(&mut conn, "/topic/orders.v1")?;
/// assert_eq!(orders.len(), 1);
/// assert_eq!(orders[0].body, 7);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`published`].
pub fn published_to<C: AsBackend>(
    conn: &mut C,
    destination: &str,
) -> Result<Vec<PublishedRow>, Error> {
    let mut rows = published(conn)?;
    rows.retain(|row| row.destination == destination);
    Ok(rows)
}
