//! Reading rows: a page of a table, or one row with its headers and body.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::listed::{Cursor, Filter, Row, RowDetails};
use super::statements::Rows;
use super::{LifecycleTable, PARKED, SUCCEEDED, WAITING};
use crate::backend::dialect::Dialect;
use crate::backend::moments::never;
use crate::backend::names;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::row_state::RowState;
use crate::schema::{self, Moment};

/// Reading rows of a table without changing them; not for use by hand.
#[doc(hidden)]
pub trait Listing {
    /// Up to `limit` rows that the filter accepts, in the order of `seq`, after the cursor.
    fn list(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> QueryResult<Vec<Row>>;

    /// The row with this id, in any spelling.
    fn find(&mut self, table: LifecycleTable, id: &str) -> QueryResult<Option<RowDetails>>;
}

#[derive(QueryableByName)]
struct Stored {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    row_id: String,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = Nullable<Text>)]
    stream: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    row_key: Option<String>,
    #[diesel(sql_type = Integer)]
    status: i32,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = schema::Utc)]
    added: Moment,
    #[diesel(sql_type = schema::Utc)]
    due_at: Moment,
    #[diesel(sql_type = schema::Utc)]
    expires_at: Moment,
    #[diesel(sql_type = Nullable<schema::Utc>)]
    settled_at: Option<Moment>,
    #[diesel(sql_type = Nullable<Text>)]
    last_error: Option<String>,
    #[diesel(sql_type = Bool)]
    is_leased: bool,
    /// Whether `due_at` is in the future.
    #[diesel(sql_type = Bool)]
    is_early: bool,
}

/// The columns of [`Stored`]. `now` is an SQL literal.
fn columns<C: Dialect>(now: &str) -> String {
    format!(
        "seq, {} as row_id, {{target}} as target, stream, {} as row_key, status, retry, added, due_at,
        expires_at, {{settled_at}} as settled_at, last_error,
        lease_token is not null and due_at > {now} as is_leased, due_at > {now} as is_early",
        C::as_text("id"),
        C::KEY
    )
}

impl Stored {
    fn row(self, table: LifecycleTable) -> Row {
        let state = RowState::new(table, self.status, self.is_leased);
        let is_open = matches!(state, RowState::Waiting | RowState::Leased);
        Row {
            seq: self.seq,
            id: self.row_id,
            destination: self.target,
            stream: self.stream,
            blocks_key: self.row_key.is_some() && self.is_early && self.status != SUCCEEDED,
            key: self.row_key,
            state,
            attempts: self.retry,
            added: self.added.0,
            due_at: (is_open && self.is_early).then_some(self.due_at.0),
            expires_at: Some(self.expires_at.0).filter(|time| *time < never()),
            sent_at: self.settled_at.map(|time| time.0),
            error: self.last_error,
        }
    }
}

#[derive(QueryableByName)]
struct StoredDetails {
    #[diesel(embed)]
    stored: Stored,
    #[diesel(sql_type = Text)]
    headers_text: String,
    #[diesel(sql_type = Nullable<Text>)]
    body_text: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    signature: Option<String>,
}

/// The condition that a filter is (`… and …`), or none if no row can meet it.
fn condition<C: Dialect>(filter: &Filter, now: DateTime<Utc>) -> Option<String> {
    let now = C::time_literal(now);
    let mut all = vec!["1 = 1".to_owned()];
    let states: Vec<String> = filter
        .states
        .iter()
        .map(|state| match state {
            RowState::Waiting => {
                format!("(status = {WAITING} and (lease_token is null or due_at <= {now}))")
            }
            RowState::Leased => {
                format!("(status = {WAITING} and lease_token is not null and due_at > {now})")
            }
            RowState::Parked => format!("status = {PARKED}"),
            RowState::Sent | RowState::Executed => format!("status = {SUCCEEDED}"),
        })
        .collect();
    if !states.is_empty() {
        all.push(format!("({})", states.join(" or ")));
    }
    for (column, value) in [
        ("stream", &filter.stream),
        ("{target}", &filter.destination),
        (C::KEY, &filter.key),
    ] {
        if let Some(value) = value {
            all.push(format!("{column} = {}", literal::<C>(value)?));
        }
    }
    if let Some(part) = &filter.error {
        all.push(C::contains("last_error", &literal::<C>(part)?));
    }
    Some(all.join(" and "))
}

/// A text as an SQL expression; none if it has U+0000, which no column can hold.
fn literal<C: Dialect>(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| C::text_literal(text))
}

/// The condition for rows after a cursor.
fn after_cursor<C: Dialect>(cursor: &Cursor) -> String {
    if C::HAS_TEXT_IDS {
        return format!("seq > {}", cursor.seq);
    }
    // `seq` is not unique: rows that Django had sent before the adoption have 0.
    let id: Uuid = names::uuid(&cursor.id).unwrap_or_default();
    format!("(seq, id) > ({}, '{id}')", cursor.seq)
}

macro_rules! listing {
    ($module:ident: $connection:ty) => {
        impl Listing for $connection {
            fn list(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                after: Option<&Cursor>,
                limit: usize,
            ) -> QueryResult<Vec<Row>> {
                let now = self.now()?;
                let Some(mut condition) = condition::<Self>(filter, now) else {
                    return Ok(Vec::new());
                };
                if let Some(cursor) = after {
                    condition.push_str(" and ");
                    condition.push_str(&after_cursor::<Self>(cursor));
                }
                let columns = columns::<Self>(&Self::time_literal(now));
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows: Vec<Stored> = diesel::sql_query(table.fill(&format!(
                    "select {columns} from {{table}} where {condition}
                    order by seq, id limit {limit}"
                )))
                .load(self)?;
                Ok(rows.into_iter().map(|row| row.row(table)).collect())
            }

            fn find(&mut self, table: LifecycleTable, id: &str) -> QueryResult<Option<RowDetails>> {
                if id.contains('\0') {
                    return Ok(None);
                }
                let columns = columns::<Self>(&Self::time_literal(self.now()?));
                let (headers, body) = (Self::as_text("headers"), Self::as_text("{body}"));
                let find_where = |conn: &mut Self, condition: String| {
                    let mut found: Vec<StoredDetails> = diesel::sql_query(table.fill(&format!(
                        "select {columns}, {headers} as headers_text, {body} as body_text,
                            signature
                        from {{table}} where {condition}"
                    )))
                    .load(conn)?;
                    QueryResult::Ok(found.pop().map(|found| RowDetails {
                        row: found.stored.row(table),
                        headers: found.headers_text,
                        body: found.body_text.unwrap_or_default(),
                        signature: found.signature,
                    }))
                };
                if let Some(uuid) = names::uuid(id)
                    && let Some(found) = find_where(self, format!("id = '{uuid}'"))?
                {
                    return Ok(Some(found));
                }
                let statuses = [WAITING, PARKED, SUCCEEDED];
                match self.spelled_otherwise(table, id, &statuses)?.pop() {
                    Some(seq) => find_where(self, format!("seq = {seq}")),
                    None => Ok(None),
                }
            }
        }
    };
}

crate::backend::databases!(listing);
