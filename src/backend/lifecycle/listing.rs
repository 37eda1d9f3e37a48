//! Reading rows: a page of a table, or one row with its headers and body.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use super::action::Action;
use super::filter::literal;
use super::statements::Rows;
use super::{Cursor, Filter, LifecycleTable, PARKED, Row, RowDetails, SUCCEEDED, WAITING};
use crate::backend::dialect::Dialect;
use crate::backend::moments::never;
use crate::backend::names;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::row_state::RowState;
use crate::schema::{self, Moment};

/// Reading rows of a table without changing them; not for use by hand.
#[doc(hidden)]
pub trait Listing {
    /// Up to `limit` rows that the filter accepts, in the order of `seq`, after the cursor; with an action only
    /// those whose state allows it.
    fn list(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        action: Option<Action>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> QueryResult<Vec<Row>>;

    /// Up to `limit` rows that succeeded and that the filter accepts, the latest first, before the cursor: its `seq`
    /// are the microseconds from 1970 to the time of writing.
    fn list_succeeded(
        &mut self,
        table: LifecycleTable,
        filter: &Filter,
        before: Option<&Cursor>,
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

/// What else the macro below needs.
trait Blockers {
    /// The id of the first row that blocks this one, if it waits.
    fn blocker(
        &mut self,
        table: LifecycleTable,
        row: &Stored,
        now: &str,
    ) -> QueryResult<Option<String>>;
}

#[derive(QueryableByName)]
struct Blocker {
    #[diesel(sql_type = Text)]
    row_id: String,
}

macro_rules! listing {
    ($module:ident: $connection:ty) => {
        impl Listing for $connection {
            fn list(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                action: Option<Action>,
                after: Option<&Cursor>,
                limit: usize,
            ) -> QueryResult<Vec<Row>> {
                let now = self.now()?;
                let Some(mut condition) = filter.condition::<Self>(now) else {
                    return Ok(Vec::new());
                };
                let now = Self::time_literal(now);
                let action = action.map(|action| action.condition(&now));
                let after = after.map(Cursor::condition::<Self>);
                for part in action.into_iter().chain(after) {
                    condition.push_str(" and ");
                    condition.push_str(&part);
                }
                let columns = columns::<Self>(&now);
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows: Vec<Stored> = diesel::sql_query(table.fill(&format!(
                    "select {columns} from {{table}} where {condition}
                    order by seq, id limit {limit}"
                )))
                .load(self)?;
                Ok(rows.into_iter().map(|row| row.row(table)).collect())
            }

            fn list_succeeded(
                &mut self,
                table: LifecycleTable,
                filter: &Filter,
                before: Option<&Cursor>,
                limit: usize,
            ) -> QueryResult<Vec<Row>> {
                let now = self.now()?;
                let Some(mut condition) = filter.condition::<Self>(now) else {
                    return Ok(Vec::new());
                };
                if let Some(cursor) = before {
                    let Some(before) = cursor.earlier::<Self>() else {
                        return Ok(Vec::new());
                    };
                    condition.push_str(" and ");
                    condition.push_str(&before);
                }
                let columns = columns::<Self>(&Self::time_literal(now));
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let by_settled = Self::BY_SETTLED;
                let rows: Vec<Stored> = diesel::sql_query(table.fill(&format!(
                    "select {columns} from {{table}} {by_settled} where status = {SUCCEEDED} and {condition}
                    order by added desc, {{table}}.id desc limit {limit}"
                )))
                .load(self)?;
                Ok(rows.into_iter().map(|row| row.row(table)).collect())
            }

            fn find(&mut self, table: LifecycleTable, id: &str) -> QueryResult<Option<RowDetails>> {
                if id.contains('\0') {
                    return Ok(None);
                }
                let now = Self::time_literal(self.now()?);
                let columns = columns::<Self>(&now);
                let (headers, body) = (Self::as_text("headers"), Self::as_text("{body}"));
                let find_where = |conn: &mut Self, condition: String| {
                    let mut found: Vec<StoredDetails> = diesel::sql_query(table.fill(&format!(
                        "select {columns}, {headers} as headers_text, {body} as body_text,
                            signature
                        from {{table}} where {condition}"
                    )))
                    .load(conn)?;
                    let Some(found) = found.pop() else {
                        return QueryResult::Ok(None);
                    };
                    Ok(Some(RowDetails {
                        blocked_by: conn.blocker(table, &found.stored, &now)?,
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

        impl Blockers for $connection {
            fn blocker(
                &mut self,
                table: LifecycleTable,
                row: &Stored,
                now: &str,
            ) -> QueryResult<Option<String>> {
                let key = row.row_key.as_deref().filter(|_| row.status == WAITING);
                let Some(key) = key.and_then(literal::<Self>) else {
                    return Ok(None);
                };
                let mut found: Vec<Blocker> = diesel::sql_query(format!(
                    "select {} as row_id from {} where {} = {key} and due_at > {now}
                        and seq < {} and status in ({WAITING}, {PARKED}) order by seq limit 1",
                    Self::as_text("id"),
                    table.name,
                    Self::KEY,
                    row.seq
                ))
                .load(self)?;
                Ok(found.pop().map(|blocker| blocker.row_id))
            }
        }
    };
}

crate::backend::databases!(listing);
