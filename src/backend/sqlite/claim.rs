//! Claims on SQLite.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use uuid::Uuid;

use crate::backend::Storage;
use crate::backend::claim::ClaimParts;
use crate::backend::claimed::{ClaimResult, Room, RowKey, Wait, load_leased};
use crate::backend::dialect::Dialect;
use crate::backend::lifecycle::LifecycleTable;
use crate::backend::moments::after;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::scope::{Filter, numbers};
use crate::schema::{self, Id, Moment};

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of these
/// has a later `due_at`. The index is named because a scan by the primary key would read
/// all the rows that were sent.
const READY: &str = "\
{own}
select p.seq, p.added, p.due_at, p.lease_token is not null as was_leased
from {table} p indexed by {table}_waiting
where p.status = 1 and p.due_at <= ?3 {from} {accepted} {others}
    and ({key} is null or {none_blocking} {none_behind} {none_excluded})
order by {order}
limit ?14";

/// Leases the rows that were found. Their times before that are known then.
const TAKE: &str = "\
update {table} as p set {stamp} lease_token = ?1, due_at = ?2
where p.seq in (select value from json_each(?10))";

/// Reads leased rows, with as many bodies as there is room for in bytes, and no body that is too large
/// to be sent. An id may be any text.
const READ: &str = "\
select r.seq, case typeof(r.id) when 'text' then r.id else quote(r.id) end as id, r.{target} as destination,
    r.key, r.stream, r.signature, r.retry, r.expires_at <= ?4 as expired, r.size,
    r.body_size, r.headers,
    case when {fits} then coalesce(r.{body}, '') end as body {call_columns}
from (
    select s.*, sum(s.size) over w as total, row_number() over w as nth
    from (
        select l.*, case when l.body_size > ?5 then 0
            else l.body_size + length(cast(l.headers as blob)) end as size
        from (
            select p.*, coalesce(length(cast(p.{body} as blob)), 0){payload_size} as body_size
            from {table} p
            where p.seq in (select value from json_each(?1)) and p.lease_token = ?2
                and p.status + 0 = 1) l) s
    window w as (order by s.seq)) r";

/// Whether a row is read as a whole.
const FITS: &str = "r.body_size <= ?5 and (r.total <= ?3 or r.nth = 1)";

const PARTS: ClaimParts = ClaimParts {
    accepted: [
        "coalesce({row}.stream in (select value from json_each(?4)), 0)",
        "{row}.{target} in (select value from json_each(?5))",
        "not coalesce({row}.stream in (select value from json_each(?6)), 0)",
        "{row}.{target} not in (select value from json_each(?7))",
    ],
    ruled_key: "\
coalesce({row}.key, (select value from json_each(?8) as rule where rule.key = {row}.stream),
    (select value from json_each(?9) as rule where rule.key = {row}.{target}))",
    own: "\
with own (key, seq) as materialized (
    select k.value, {if_behind}(
        select min(e.seq) from {table} e
        where e.key = k.value and e.status <> 2 and e.due_at > ?3 and not coalesce(
            e.lease_token in (select value from json_each(?12)), 0)){end}
    from json_each(?11) as k),
own_blocked (key, seq) as materialized (select key, seq from own where seq is not null)",
    own_key: "k.value",
    from: "and p.seq >= ?10",
    first: "?10",
    other_key: " and not coalesce({key} in (select value from json_each(?13)), 0)",
    none_blocking: "\
not exists (select 1 from {table} e
    where e.key = {key} and e.status <> 2 and e.due_at > ?3 and e.seq < p.seq)",
    // In two ranges of the index, each of which is short: rows that have not failed, and others.
    behind: "\
exists (select 1 from {table} e
    where e.key = {key} and e.status = 1 and e.status <> 2
        and e.due_at = '1970-01-01 00:00:00.000000' and e.seq < ?10)
or exists (select 1 from {table} e
    where e.key = {key} and e.status = 1 and e.status <> 2
        and e.due_at > '1970-01-01 00:00:00.000000' and e.due_at <= ?3 and e.seq < ?10)",
};

pub(super) fn lease_rows(
    conn: &mut SqliteConnection,
    table: LifecycleTable,
    token: Uuid,
    lease: Duration,
    room: Room,
    filter: &Filter,
) -> QueryResult<ClaimResult> {
    // An immediate transaction is the only writer: no other session has locked a row.
    let (ready, now) = conn.atomically(|conn| {
        let now = conn.now()?;
        // Parameters that the statement does not use are harmless, but it must use the last one.
        let ready: Vec<Ready> = diesel::sql_query(PARTS.fill(READY, table, filter))
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<schema::Utc, _>(Moment(after(now, lease)))
            .bind::<schema::Utc, _>(Moment(now))
            .bind::<Text, _>(&filter.streams)
            .bind::<Text, _>(&filter.destinations)
            .bind::<Text, _>(&filter.paused)
            .bind::<Text, _>(&filter.open_circuits)
            .bind::<Text, _>(&filter.stream_keys)
            .bind::<Text, _>(&filter.destination_keys)
            .bind::<BigInt, _>(filter.from.unwrap_or(i64::MIN))
            .bind::<Text, _>(filter.own_keys())
            .bind::<Text, _>(filter.own_tokens())
            .bind::<Text, _>(filter.not_keys())
            .bind::<BigInt, _>(i64::try_from(room.rows).unwrap_or(i64::MAX))
            .load(conn)?;
        if ready.is_empty() {
            return QueryResult::Ok((ready, now));
        }
        // The unused ones are those of the statement above.
        diesel::sql_query(PARTS.fill(TAKE, table, filter))
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<schema::Utc, _>(Moment(after(now, lease)))
            .bind::<Text, _>("")
            .bind::<Text, _>("")
            .bind::<Text, _>("")
            .bind::<Text, _>("")
            .bind::<Text, _>("")
            .bind::<Text, _>(&filter.stream_keys)
            .bind::<Text, _>(&filter.destination_keys)
            .bind::<Text, _>(array(&ready))
            .execute(conn)?;
        QueryResult::Ok((ready, now))
    })?;
    if ready.is_empty() {
        return Ok(ClaimResult::default());
    }
    let read = table
        .fill(READ)
        .replace("{call_columns}", &table.call_columns("r", FITS))
        .replace("{fits}", FITS);
    let read = diesel::sql_query(read)
        .bind::<Text, _>(array(&ready))
        .bind::<schema::Uuid, _>(Id(token))
        .bind::<BigInt, _>(i64::try_from(room.bytes).unwrap_or(i64::MAX))
        .bind::<schema::Utc, _>(Moment(now))
        .bind::<BigInt, _>(i64::try_from(room.largest).unwrap_or(i64::MAX));
    let rows = load_leased!(table, read, conn);
    let waits = ready.iter().map(|row| row.wait(now)).collect();
    Ok(ClaimResult {
        rows,
        locked: Vec::new(),
        waits,
    })
}

/// The rows as a JSON array of their `seq`.
fn array(rows: &[Ready]) -> String {
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    format!("[{}]", numbers(&seqs))
}

/// A row that can be leased.
#[derive(QueryableByName)]
struct Ready {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = schema::Utc)]
    added: Moment,
    #[diesel(sql_type = schema::Utc)]
    due_at: Moment,
    #[diesel(sql_type = Bool)]
    was_leased: bool,
}

impl Ready {
    fn wait(&self, now: DateTime<Utc>) -> (RowKey, Wait) {
        let since = if self.was_leased {
            self.added.0
        } else {
            self.added.0.max(self.due_at.0)
        };
        let row = RowKey {
            seq: self.seq,
            id: Uuid::nil(),
        };
        let wait = Wait {
            time: (now - since).to_std().unwrap_or_default(),
            was_leased: self.was_leased,
        };
        (row, wait)
    }
}
