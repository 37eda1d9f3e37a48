//! Reading the inbox: a page of `received`, or the rows of one message.

use std::time::Duration;

use chrono::DateTime;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};

use super::dialect::Dialect;
use super::lifecycle::{Cursor, ages, literal};
use super::names;
use super::qualify::RunQueryDsl;
use crate::schema::{self, Moment};

/// Which rows of the inbox are listed: those that meet all conditions. [`InboxFilter::new`] accepts every row.
///
/// ```
/// use diesel_outbox::admin::InboxFilter;
///
/// let filter = InboxFilter::new().message("order-7").consumer("billing");
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxFilter {
    messages: Vec<String>,
    consumer: Option<String>,
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
}

impl InboxFilter {
    /// Accepts every row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of the message with this id; if it is called several times, of one of these messages. The id is that of
    /// the message, in the sender's spelling.
    #[must_use]
    pub fn message(mut self, id: impl Into<String>) -> Self {
        self.messages.push(id.into());
        self
    }

    /// Rows of this consumer; an empty name is the whole service.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// Rows of messages that were handled this long ago or longer, by the database's clock.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Rows of messages that were handled less than this long ago, by the database's clock.
    #[must_use]
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than = Some(age);
        self
    }
}

/// A row of the inbox, without its headers and body: a message that had its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedRow {
    /// The row's id.
    pub id: String,
    /// The message's id, or a digest of an id that is too long for the column. A row that Django has written may have
    /// none.
    pub message_id: Option<String>,
    /// The consumer that handled it; empty for the whole service.
    pub consumer: String,
    /// How many attempts failed before the one that succeeded.
    pub failed_attempts: i32,
    /// When the message was handled.
    pub handled_at: DateTime<chrono::Utc>,
}

impl ReceivedRow {
    /// The cursor for the rows after this one.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            seq: self.handled_at.timestamp_micros(),
            id: self.id.clone(),
        }
    }
}

/// A row of the inbox with its headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedDetails {
    /// The row without them.
    pub row: ReceivedRow,
    /// The headers as JSON text, if they are stored.
    pub headers: Option<String>,
    /// The body as JSON text; none if the column cannot hold it.
    pub body: Option<String>,
}

/// Reading the inbox; not for use by hand.
#[doc(hidden)]
pub trait InboxListing {
    /// Up to `limit` rows that the filter accepts, the oldest first, after the cursor.
    fn list_received(
        &mut self,
        filter: &InboxFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> QueryResult<Vec<ReceivedRow>>;

    /// The rows of the message with this id, or the row with this id.
    fn find_received(&mut self, id: &str) -> QueryResult<Vec<ReceivedDetails>>;
}

#[derive(QueryableByName)]
struct Stored {
    #[diesel(sql_type = Text)]
    row_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    msg_id: Option<String>,
    #[diesel(sql_type = Text)]
    consumer: String,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = schema::Utc)]
    added: Moment,
}

impl Stored {
    fn row(self) -> ReceivedRow {
        ReceivedRow {
            id: self.row_id,
            message_id: self.msg_id,
            consumer: self.consumer,
            failed_attempts: self.retry,
            handled_at: self.added.0,
        }
    }
}

#[derive(QueryableByName)]
struct StoredDetails {
    #[diesel(embed)]
    stored: Stored,
    #[diesel(sql_type = Nullable<Text>)]
    headers_text: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    body_text: Option<String>,
}

/// The columns of [`Stored`].
fn columns<C: Dialect>() -> String {
    format!(
        "{} as row_id, msg_id, consumer, retry, added",
        C::as_text("id")
    )
}

/// The condition that a filter is, as a list; `None` if no row can meet it.
fn conditions<C: Dialect>(filter: &InboxFilter, now: DateTime<chrono::Utc>) -> Option<Vec<String>> {
    let mut all = vec!["1 = 1".to_owned()];
    if !filter.messages.is_empty() {
        let ids = filter.messages.iter();
        let ids: Vec<String> = ids
            .filter_map(|id| literal::<C>(&C::distinct_id(id)))
            .collect();
        if ids.is_empty() {
            return None;
        }
        all.push(format!("msg_id in ({})", ids.join(", ")));
    }
    if let Some(consumer) = &filter.consumer {
        all.push(format!("consumer = {}", literal::<C>(consumer)?));
    }
    all.extend(ages::<C>(filter.older_than, filter.newer_than, now));
    Some(all)
}

/// The condition for rows after a cursor, in the order of `added` and `id`; `None` if there can be none. The first
/// part is one that each database finds by its index.
fn after_cursor<C: Dialect>(cursor: &Cursor) -> Option<String> {
    let time = C::time_literal(DateTime::from_timestamp_micros(cursor.seq)?);
    let id = if C::HAS_TEXT_IDS {
        C::id_literal(&cursor.id).filter(|_| !cursor.id.contains('\0'))?
    } else {
        format!("'{}'", names::uuid(&cursor.id).unwrap_or_default())
    };
    Some(format!(
        "added >= {time} and (added > {time} or received.id > {id})"
    ))
}

macro_rules! inbox_listing {
    ($module:ident: $connection:ty) => {
        impl InboxListing for $connection {
            fn list_received(
                &mut self,
                filter: &InboxFilter,
                after: Option<&Cursor>,
                limit: usize,
            ) -> QueryResult<Vec<ReceivedRow>> {
                let Some(mut all) = conditions::<Self>(filter, self.now()?) else {
                    return Ok(Vec::new());
                };
                if let Some(cursor) = after {
                    let Some(after) = after_cursor::<Self>(cursor) else {
                        return Ok(Vec::new());
                    };
                    all.push(after);
                }
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows: Vec<Stored> = diesel::sql_query(format!(
                    "select {} from received where {} order by added, received.id limit {limit}",
                    columns::<Self>(),
                    all.join(" and ")
                ))
                .load(self)?;
                Ok(rows.into_iter().map(Stored::row).collect())
            }

            fn find_received(&mut self, id: &str) -> QueryResult<Vec<ReceivedDetails>> {
                let Some(message) = literal::<Self>(&Self::distinct_id(id)) else {
                    return Ok(Vec::new());
                };
                let find_where = |conn: &mut Self, condition: String| {
                    let rows: Vec<StoredDetails> = diesel::sql_query(format!(
                        "select {}, {} as headers_text, {} as body_text from received
                        where {condition} order by added, received.id",
                        columns::<Self>(),
                        Self::as_text("headers"),
                        Self::as_text("body")
                    ))
                    .load(conn)?;
                    let rows = rows.into_iter().map(|found| ReceivedDetails {
                        row: found.stored.row(),
                        headers: found.headers_text,
                        body: found.body_text,
                    });
                    QueryResult::Ok(rows.collect::<Vec<_>>())
                };
                let found = find_where(self, format!("msg_id = {message}"))?;
                match names::uuid(id) {
                    Some(uuid) if found.is_empty() => find_where(self, format!("id = '{uuid}'")),
                    _ => Ok(found),
                }
            }
        }
    };
}

super::databases!(inbox_listing);
