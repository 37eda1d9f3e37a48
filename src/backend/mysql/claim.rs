//! Claims on MySQL and MariaDB.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use chrono::DateTime;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use uuid::Uuid;

use super::text_literal;
use crate::backend::claimed::{ClaimResult, Leased, Room, RowKey, Wait, load_leased};
use crate::backend::dialect::Dialect;
use crate::backend::lifecycle::LifecycleTable;
use crate::backend::moments::after;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::scope::{Filter, Freshness, numbers};
use crate::schema::{self, Moment};

/// The claim is one transaction that the server receives as a whole, so that a stalled client never keeps
/// the lock: the row `claim` of `outbox_jobs`. READ COMMITTED takes no gap locks, by which InnoDB would
/// deadlock two claims. `{ready}` is read without locks; of these rows the claim takes those that no other
/// session has locked. MariaDB truncates an array to the length of `group_concat_max_len`, even within a
/// number. LIMIT keeps the subquery from being merged. MySQL cannot lock the array's rows; MariaDB does not read
/// the comment in `for update`, and does not know `of`.
const CLAIM: &str = "\
set @outbox_lock = null, @outbox_ready = null, @outbox_waits = null,
    session group_concat_max_len =
        cast(greatest(@@session.group_concat_max_len, 16777216) as unsigned);
{begin}
select name into @outbox_lock from outbox_jobs where name = {claim} for update;
select json_arrayagg(ready.seq), json_arrayagg(ready.waited) into @outbox_ready, @outbox_waits
from ({ready}) ready
where @outbox_lock is not null;
update (
    select p.seq, p.lease_token as last_token
    from json_table(@outbox_ready, '$[*]' columns (seq bigint path '$')) ready
    straight_join {table} p force index ({table}_seq) on p.seq = ready.seq
    where p.status = 1 and p.due_at <= {now}
    limit 100000
    for update /*!80000 of p */ skip locked) free
straight_join {table} p force index ({table}_seq) on p.seq = free.seq
set {stamp} p.`key` = {key}, p.lease_token = {token}, p.due_at = {until};
{commit}";
const BEGIN_CLAIM: &str = "\
set transaction isolation level read committed;
start transaction;";

/// The claim's result in the session.
const CLAIMED: &str = "\
select @outbox_lock is not null as has_lock, cast(@outbox_ready as char) as ready,
    cast(@outbox_waits as char) as waits";

/// Reads the rows whose lease ends at exactly this moment, with as many bodies as there is room
/// for in bytes, and no body that is too large to be sent. The window functions sort numbers only: MySQL fails
/// with "Out of sort memory" if it sorts a row that is longer than `sort_buffer_size`. LIMIT keeps the rows out of the
/// sort.
const LEASED: &str = "\
select r.seq, p.id, p.{target} as destination, p.`key`, p.stream, p.signature, p.retry,
    cast(p.expires_at <= {now} as signed) as expired, cast(r.size as signed) as size,
    cast(r.body_size as signed) as body_size,
    case when {fits} then coalesce(cast(p.{body} as char), '') end as body,
    cast(p.headers as char) as headers {call_columns}
from (
    select s.*, sum(s.size) over (order by s.seq) as total, row_number() over (order by s.seq) as nth
    from (
        select l.seq, l.body_size,
            case when l.body_size > {largest} then 0 else l.body_size + l.headers_size end as size
        from (
            select p.seq, length(cast(p.headers as char)) as headers_size,
                coalesce(length(cast(p.{body} as char)), 0){payload_size} as body_size
            from {table} p force index ({table}_held)
            where p.status = 1 and p.due_at = {until} and p.lease_token = {token}
            limit 100000) l) s) r
straight_join {table} p force index ({table}_seq) on p.seq = r.seq";

/// Whether a row is read as a whole.
const FITS: &str = "r.body_size <= {largest} and (r.total <= {bytes} or r.nth = 1)";

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of these
/// has a later `due_at`. The indexes are named because the optimizer prefers a sort of all
/// waiting rows.
const READY: &str = "\
select p.seq, 2 * greatest(0, timestampdiff(microsecond,
        case when p.lease_token is null and p.due_at > p.added then p.due_at else p.added end, {now}))
    + (p.lease_token is not null) as waited
from {table} p force index ({table}_waiting)
left join (
    select e.`key`, min(e.seq) as seq
    from {table} e force index ({table}_held)
    where e.status in (-1, 1) and e.due_at > {now} and e.`key` is not null {not_own}
    group by e.`key`) blocking on blocking.`key` = {key}
{late}
where p.status = 1 and p.due_at <= {now} and (blocking.seq is null or blocking.seq >= p.seq)
    {conditions}
order by {order}
limit {limit}";

/// Keys with failed rows that are due again, before the first row to scan.
const LATE: &str = "\
left join (
    select distinct e.`key`
    from {table} e force index ({table}_held)
    where e.status = 1 and e.due_at > '1970-01-01' and e.due_at <= {now}
        and e.`key` is not null and e.seq < {from}) late on late.`key` = {key}";
const EPOCH: &str = "'1970-01-01 00:00:00'";

/// The key that a rule gives to `row`.
fn ruled_key(filter: &Filter, row: &str) -> String {
    let by = |keys: &str, column: &str| {
        format!(
            "json_unquote(json_extract({}, concat('$.', json_quote({row}.{column}))))",
            text_literal(keys)
        )
    };
    format!(
        "coalesce({row}.`key`, {}, {})",
        by(&filter.stream_keys, "stream"),
        by(&filter.destination_keys, "{target}")
    )
}

/// Whether the filter accepts `row` for its stream and target.
fn accepted(filter: &Filter, row: &str) -> String {
    let among = |names: &str, column: &str| {
        let names = text_literal(names);
        format!("coalesce(json_contains({names}, json_quote({row}.{column})), 0)")
    };
    let mut rule = format!(
        "not {} and not {}",
        among(&filter.paused, "stream"),
        among(&filter.open_circuits, "{target}")
    );
    for (names, column) in [
        (&filter.streams, "stream"),
        (&filter.destinations, "{target}"),
    ] {
        if names != "[]" {
            rule.push_str(" and ");
            rule.push_str(&among(names, column));
        }
    }
    rule
}

/// The key by which a row is claimed.
fn key(filter: &Filter) -> String {
    if filter.has_key_rule {
        ruled_key(filter, "p")
    } else {
        "p.`key`".to_owned()
    }
}

/// The statement that finds rows, including the filter.
fn ready(filter: &Filter, limit: usize) -> String {
    let mut not_own = String::new();
    if !filter.own_keys.is_empty() && !filter.own_tokens.is_empty() {
        let tokens: Vec<String> = filter
            .own_tokens
            .iter()
            .map(|it| format!("'{it}'"))
            .collect();
        let keys: Vec<String> = filter
            .own_keys
            .iter()
            .map(|key| text_literal(key))
            .collect();
        not_own = format!(
            "and not (coalesce(e.lease_token in ({}), 0) and e.`key` in ({}))",
            tokens.join(", "),
            keys.join(", ")
        );
    }
    let key = key(filter);
    let mut conditions = String::new();
    if filter.has_conditions {
        // In two ranges of the index: rows that have not failed, and others. A row that is due later blocks its
        // key, or this relay has leased it. `case` keeps the server from reading them for rows that are blocked.
        let kept_back = |due: &str| {
            format!(
                "exists (select 1 from {{table}} e force index ({{table}}_held)
                    where e.status = 1 and {due} and e.`key` = {key} and e.seq < p.seq and not ({}))",
                accepted(filter, "e")
            )
        };
        conditions = format!(
            "and {} and case when blocking.seq is null or blocking.seq >= p.seq
                then {key} is null or not {} and not {} else 0 end",
            accepted(filter, "p"),
            kept_back(&format!("e.due_at = {EPOCH}")),
            kept_back(&format!("e.due_at > {EPOCH} and e.due_at <= {{now}}"))
        );
    }
    let mut late = String::new();
    if let Some(from) = filter.from {
        late = LATE
            .replace("{from}", &from.to_string())
            .replace("{key}", &key);
        conditions.push_str(&format!(
            " and p.seq >= {from} and late.`key` is null and not exists (
                select 1 from {{table}} e force index ({{table}}_held)
                where e.status = 1 and e.due_at = {EPOCH} and e.`key` = {key} and e.seq < {from})"
        ));
    }
    conditions.push_str(&filter.not_rows("p"));
    if !filter.not_keys.is_empty() {
        let keys: Vec<String> = filter
            .not_keys
            .iter()
            .map(|key| text_literal(key))
            .collect();
        let keys = keys.join(", ");
        conditions.push_str(&format!(" and not coalesce({key} in ({keys}), 0)"));
    }
    if filter.freshness != Freshness::Any {
        conditions.push_str(&format!(
            " and p.retry = 0 and ({key} is null or not exists (
                select 1 from {{table}} e
                where e.`key` = {key} and e.status = 1 and e.seq < p.seq))"
        ));
    }
    let order = match filter.freshness {
        Freshness::Newest => "p.seq desc",
        Freshness::Any | Freshness::Fresh => "p.seq",
    };
    READY
        .replace("{key}", &key)
        .replace("{late}", &late)
        .replace("{conditions}", &conditions)
        .replace("{order}", order)
        .replace("{limit}", &limit.to_string())
        .replace("{not_own}", &not_own)
}

pub(super) fn lease_rows(
    conn: &mut MysqlConnection,
    table: LifecycleTable,
    token: Uuid,
    lease: Duration,
    room: Room,
    filter: &Filter,
) -> QueryResult<ClaimResult> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    let is_own = matches!(status.transaction_depth(), Ok(None));
    // Before the lock: what ends or begins after this moment is found by the next claim.
    let present = conn.now()?;
    let (now, until) = (
        MysqlConnection::time_literal(present),
        MysqlConnection::time_literal(after(present, lease)),
    );
    let (begin, commit) = if is_own {
        (BEGIN_CLAIM, "commit")
    } else {
        ("", "do 0")
    };
    let filled = |statement: &str| {
        table
            .fill(statement)
            .replace("{claim}", &format!("'{}'", claim_job(table)))
            .replace("{begin}", begin)
            .replace("{commit}", commit)
            .replace("{ready}", &table.fill(&ready(filter, room.rows)))
            .replace("{now}", &now)
            .replace("{until}", &until)
            .replace("{key}", &table.fill(&key(filter)))
            .replace(
                "{stamp}",
                &table.crash_stamp("p.crashes", "free.last_token"),
            )
            .replace("{token}", &format!("'{token}'"))
            .replace("{call_columns}", &table.call_columns("p", FITS))
            .replace("{fits}", FITS)
            .replace("{bytes}", &room.bytes.to_string())
            .replace("{largest}", &room.largest.to_string())
    };
    let claim = filled(CLAIM);
    let mut has_tried = false;
    let (ready, waits) = loop {
        if let Err(error) = conn.batch_execute(&claim) {
            if is_own {
                // Only a lost connection makes this fail.
                let _ = conn.batch_execute("rollback");
            }
            return Err(error);
        }
        let claimed: Claimed = diesel::sql_query(CLAIMED).get_result(conn)?;
        if claimed.has_lock || has_tried {
            break (claimed.ready, claimed.waits);
        }
        // The table was emptied.
        has_tried = true;
        diesel::sql_query(MysqlConnection::INSERT_JOB)
            .bind::<schema::Utc, _>(Moment(DateTime::UNIX_EPOCH))
            .bind::<Text, _>(claim_job(table))
            .execute(conn)?;
    };
    let Some(ready) = ready else {
        return Ok(ClaimResult::default());
    };
    let mut rows = load_leased!(table, diesel::sql_query(filled(LEASED)), conn);
    rows.sort_by_key(Leased::seq);
    let taken: HashSet<i64> = rows.iter().map(Leased::seq).collect();
    let ready = whole_numbers(&ready);
    let waits = whole_numbers(waits.as_deref().unwrap_or_default());
    let waits = ready.iter().zip(waits).map(|(seq, wait)| {
        let row = RowKey {
            seq: *seq,
            id: Uuid::nil(),
        };
        (row, Wait::from_number(wait))
    });
    let mut result = ClaimResult {
        rows,
        waits: waits.collect(),
        ..ClaimResult::default()
    };
    let mut missed = ready;
    missed.retain(|seq| !taken.contains(seq));
    if missed.is_empty() {
        return Ok(result);
    }
    let locked = diesel::sql_query(filled(&format!(
        "select p.seq, p.id, {{key}} as `key` from {{table}} p
        where p.seq in ({})
            and (p.status = 1 or p.status = -1 and p.due_at > utc_timestamp(6))",
        numbers(&missed)
    )));
    result.locked = locked.load(conn)?;
    Ok(result)
}

/// The numbers of a JSON array.
fn whole_numbers(array: &str) -> Vec<i64> {
    let numbers = array.trim_matches(['[', ']']).split(',');
    numbers
        .filter_map(|number| number.trim().parse().ok())
        .collect()
}

/// The row of `outbox_jobs` that is the lock of claims on a table.
fn claim_job(table: LifecycleTable) -> Cow<'static, str> {
    match table.number {
        0 => Cow::Borrowed("claim"),
        _ => Cow::Owned(format!("claim {}", table.name)),
    }
}

/// Waits until no claim is in progress: outside of a transaction the lock is released at once.
pub(super) fn await_claims(conn: &mut MysqlConnection, table: LifecycleTable) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "select name from outbox_jobs where name = '{}' for update",
        claim_job(table)
    ))
}

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = Bool)]
    has_lock: bool,
    #[diesel(sql_type = Nullable<Text>)]
    ready: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    waits: Option<String>,
}
