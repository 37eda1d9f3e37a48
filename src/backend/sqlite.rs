//! SQLite's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use uuid::Uuid;

use super::claim::Words;
use super::claimed::{Leased, LockedRow, Room, RowKey};
use super::dialect::{Dialect, End, standard};
use super::outbox::SUCCEEDED;
use super::qualify::RunQueryDsl;
use super::scope::{Filter, numbers};
use super::{Storage, never};
use crate::schema::{self, Id, Moment, published};

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The index is named because the scan by the primary key would pass over
/// all the rows that were sent.
const CLAIM: &str = "\
update published as p set {stamp} lease_token = ?1, due_at = ?2
where seq in (
    {own}
    select p.seq
    from published p indexed by published_waiting
    where p.status = 1 and p.due_at <= ?3 {from} {let_through} {others}
        and ({key} is null or {none_held} {none_behind} {none_kept_back})
    order by {order}
    limit ?14)
returning seq";

/// Reads leased rows, with as many bodies as there is room for in bytes, and none that is too large
/// to be sent. An id may be anything.
const READ: &str = "\
select r.seq, case typeof(r.id) when 'text' then r.id else quote(r.id) end as id, r.destination,
    r.key, r.stream, r.retry, r.expires_at <= ?4 as expired, r.size,
    r.body_size, r.headers,
    case when r.body_size <= ?5 and (r.total <= ?3 or r.nth = 1) then r.body end as body
from (
    select s.*, sum(s.size) over w as total, row_number() over w as nth
    from (
        select l.*, case when l.body_size > ?5 then 0
            else l.body_size + length(cast(l.headers as blob)) end as size
        from (
            select p.*, length(cast(p.body as blob)) as body_size
            from published p
            where p.seq in (select value from json_each(?1)) and p.lease_token = ?2
                and p.status + 0 = 1) l) s
    window w as (order by s.seq)) r";

const WORDS: Words = Words {
    let_through: "\
(?4 = '[]' or coalesce({row}.stream in (select value from json_each(?4)), 0))
and (?5 = '[]' or {row}.destination in (select value from json_each(?5)))
and not coalesce({row}.stream in (select value from json_each(?6)), 0)
and {row}.destination not in (select value from json_each(?7))",
    ruled_key: "\
coalesce({row}.key, (select value from json_each(?8) as rule where rule.key = {row}.stream),
    (select value from json_each(?9) as rule where rule.key = {row}.destination))",
    own: "\
with own (key, seq) as materialized (
    select k.value, (
        select min(e.seq) from published e
        where e.key = k.value and e.status <> 2 and e.due_at > ?3 and not coalesce(
            e.lease_token in (select value from json_each(?12)), 0))
    from json_each(?11) as k),
own_held (key, seq) as materialized (select key, seq from own where seq is not null)",
    from: "and p.seq >= ?10",
    first: "?10",
    other_key: " and not coalesce({key} in (select value from json_each(?13)), 0)",
    none_held: "\
not exists (select 1 from published e
    where e.key = {key} and e.status <> 2 and e.due_at > ?3 and e.seq < p.seq)",
    // In two ranges of the index, each of which is short: rows that nobody has tried, and others.
    none_behind: "\
and not exists (select 1 from published e
    where e.key = {key} and e.status = 1 and e.status <> 2
        and e.due_at = '1970-01-01 00:00:00.000000' and e.seq < ?10)
and not exists (select 1 from published e
    where e.key = {key} and e.status = 1 and e.status <> 2
        and e.due_at > '1970-01-01 00:00:00.000000' and e.due_at <= ?3 and e.seq < ?10)",
};

impl Dialect for diesel::SqliteConnection {
    const NOW: &'static str = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'";
    const VERSION: Option<&'static str> = None;
    const INSERT_JOB: &'static str = standard::INSERT_JOB;
    const BEGIN_JOB: &'static str = standard::BEGIN_JOB;
    const PAUSE_STREAM: &'static str = standard::PAUSE_STREAM;
    const INSERT_STREAM: &'static str = standard::INSERT_STREAM;
    const DELETE_PUBLISHED: &'static str = standard::DELETE_PUBLISHED;
    const DELETE_RECEIVED: &'static str = standard::DELETE_RECEIVED;
    const DELETE_DELIVERIES: &'static str = standard::DELETE_DELIVERIES;
    const BEGIN_AGAIN: &'static str = standard::BEGIN_AGAIN;

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn lease_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        room: Room,
        filter: &Filter,
    ) -> QueryResult<(Vec<Leased>, Vec<LockedRow>)> {
        // An immediate transaction writes alone: no row is locked by anybody else.
        let (seqs, now) = self.atomically(|conn| {
            let now = conn.now()?;
            let until =
                now.checked_add_signed(chrono::TimeDelta::from_std(lease).unwrap_or_default());
            // Those that the statement does not use are no harm, but the last one has to be used.
            let taken: Vec<Taken> = diesel::sql_query(WORDS.fill(CLAIM, filter))
                .bind::<schema::Uuid, _>(Id(token))
                .bind::<schema::Utc, _>(Moment(until.unwrap_or_else(never)))
                .bind::<schema::Utc, _>(Moment(now))
                .bind::<Text, _>(&filter.streams)
                .bind::<Text, _>(&filter.destinations)
                .bind::<Text, _>(&filter.paused)
                .bind::<Text, _>(&filter.set_aside)
                .bind::<Text, _>(&filter.stream_keys)
                .bind::<Text, _>(&filter.destination_keys)
                .bind::<BigInt, _>(filter.from.unwrap_or(i64::MIN))
                .bind::<Text, _>(filter.own_keys())
                .bind::<Text, _>(filter.own_tokens())
                .bind::<Text, _>(filter.not_keys())
                .bind::<BigInt, _>(i64::try_from(room.rows).unwrap_or(i64::MAX))
                .load(conn)?;
            let seqs: Vec<i64> = taken.into_iter().map(|row| row.seq).collect();
            QueryResult::Ok((seqs, now))
        })?;
        if seqs.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let leased = diesel::sql_query(READ)
            .bind::<Text, _>(format!("[{}]", numbers(&seqs)))
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<BigInt, _>(i64::try_from(room.bytes).unwrap_or(i64::MAX))
            .bind::<schema::Utc, _>(Moment(now))
            .bind::<BigInt, _>(i64::try_from(room.largest).unwrap_or(i64::MAX))
            .load(self)?;
        Ok((leased, Vec::new()))
    }

    fn await_claims(&mut self) -> QueryResult<()> {
        Ok(())
    }

    fn settle(&mut self, token: Uuid, rows: &[RowKey], end: &End<'_>) -> QueryResult<usize> {
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let update = diesel::update(published::table)
            .filter(published::seq.eq_any(seqs))
            .filter(published::lease_token.eq(Id(token)))
            .filter(published::status.ne(SUCCEEDED));
        match end {
            End::Sent => update
                .set((
                    published::status.eq(SUCCEEDED),
                    published::sent_at.eq(sql::<schema::Utc>(Self::NOW).nullable()),
                    published::lease_token.eq(None::<Id>),
                    // So that one put back into the queue by hand goes at once.
                    published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                    published::last_error.eq(None::<String>),
                ))
                .execute(self),
            End::Released => update
                .set((
                    published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                    published::lease_token.eq(None::<Id>),
                ))
                .execute(self),
            End::Failed {
                status,
                attempts,
                due_at,
                reason,
            } => update
                .set((
                    published::status.eq(status),
                    published::retry.eq(published::retry + attempts),
                    published::due_at.eq(Moment(*due_at)),
                    published::lease_token.eq(None::<Id>),
                    published::last_error.eq(reason),
                ))
                .execute(self),
        }
    }

    fn lockable(&mut self, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
        Ok(rows.to_vec())
    }

    fn limit_lock_waits(&mut self, limit: Duration) -> QueryResult<()> {
        self.batch_execute(&format!("pragma busy_timeout = {}", limit.as_millis()))
    }

    fn spelled_otherwise(&mut self, status: i32, id: Uuid) -> QueryResult<Vec<i64>> {
        let rows: Vec<Taken> = diesel::sql_query(format!(
            "select seq from published where status = {status} and lower(replace(replace(replace(
                replace(trim(id), '-', ''), '{{', ''), '}}', ''), 'urn:uuid:', '')) = '{}'",
            id.simple()
        ))
        .load(self)?;
        Ok(rows.into_iter().map(|row| row.seq).collect())
    }
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}
