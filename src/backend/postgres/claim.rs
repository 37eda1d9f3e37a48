//! Claims on PostgreSQL.

use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::result::Error::DeserializationError;
use diesel::sql_types::{Array, BigInt};
use uuid::Uuid;

use super::qualify::{here, lock_key};
use super::text_literal;
use crate::backend::claim::ClaimParts;
use crate::backend::claimed::{ClaimResult, Room, RowKey, Wait, load_leased};
use crate::backend::lifecycle::LifecycleTable;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::scope::Filter;
use crate::schema::{self, Id};

diesel::define_sql_function! {
    fn current_setting(name: diesel::sql_types::Text, missing_ok: diesel::sql_types::Bool) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
}

/// The advisory lock under which claims are made: "outbox" in ASCII. Versions that did not know
/// the schema took only this lock, so claims with the lock of one outbox take it shared.
const LOCK: i64 = 0x6f75_7462_6f78;

/// The claim has one good plan: along the indexes. With outdated statistics the planner would
/// sort all waiting rows or read the whole table, or join by reading all waiting rows, and compile the
/// statement at each claim. A bitmap scan visits every dead row of a key again; an index scan
/// marks it as dead.
const SETTINGS: &str = "\
set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)";

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of these
/// has a later `due_at`. The status and time of a row are checked again when it is locked, because
/// READ COMMITTED shows what another relay, whose lease had ended, settled in the meantime. Rows
/// that are locked are returned too: the later ones of their keys have to wait for them. The result
/// is stored in a setting of the session, because the client gets no rows from several statements that it
/// sends as one.
const CLAIM: &str = "\
with clock as materialized (select clock_timestamp() as now), {own} {crowd} ready as materialized (
    select p.id
    from {table} p
    where p.status = 1 and p.due_at <= {now} {from} {unless_crowded} {accepted} {others}
        and ({key} is null or {none_blocking} {none_behind} {none_excluded})
    order by {order}
    limit $1),
free as materialized (
    select p.id, case when p.lease_token is null then greatest(p.added, p.due_at) else p.added end as since,
        p.lease_token is not null as was_leased
    from ready, {table} p
    where p.id = ready.id and p.status = 1 and p.due_at <= {now}
    for no key update of p skip locked),
taken as (
    update {table} p
    set {stamp} lease_token = $2, due_at = {now} + make_interval(secs => $3)
    from free
    where p.id = free.id
    returning p.id, 2 * greatest(0, floor(1000000 * extract(epoch from {now} - free.since)))::bigint
        + free.was_leased::integer as waited, {small_size} as size)
select count(set_config('outbox.claimed', $2 || '/'
    || coalesce((select string_agg(id::text || ':' || waited, ',') from taken), '') || '/'
    || coalesce((select string_agg(id::text, ',') from ready
        where id not in (select id from free)), '') || '/'
    || coalesce((select sum(size) from taken having bool_and(size is not null))::text, ''), false))";
/// The time of a claim. As a scalar it is read once; in a join it would be read at each row.
const NOW: &str = "(select now from clock)";
/// The size in bytes of what is sent of the row `p` if that is small, so that the database reads it at little cost.
const SMALL_SIZE: &str = "\
case when coalesce(pg_column_size(p.{body}), 0) + pg_column_size(p.headers){payload_size} < 2000
    then coalesce(octet_length(p.{body}::text), 0) + octet_length(p.headers::text){payload_size} end";

/// Keys with many waiting rows, by a sample of which most is taken from the oldest rows, and for each of them the first
/// row that blocks it. Looking at that for each row costs ten times as much as reading the row.
const CROWD: &str = "\
crowd as materialized (
    select s.key
    from (select min(seq) as first, max(seq) as last from {table} where status = 1) ends,
        generate_series(0, 9) n,
        lateral (
            select p.key from {table} p
            where p.status = 1 and p.seq >= ends.first + (ends.last - ends.first) / 81 * n * n
            order by p.seq limit 50) s
    where s.key is not null and not jsonb_exists($11::jsonb, s.key)
    group by s.key having count(*) >= 5),
crowd_blocked as materialized (
    select jsonb_object_agg(c.key, (
        select min(e.seq) from {table} e
        where e.key = c.key and e.status <> 2 and e.due_at > {now})) as by_key
    from crowd c),";
const UNLESS_CROWDED: &str = "\
and coalesce(((select by_key from crowd_blocked) ->> p.key)::bigint >= p.seq, true)";

/// Reads leased rows of which all fit.
const READ_ALL: &str = "\
select r.seq, r.id::text as id, r.{target} as destination, r.key, r.stream, r.signature, r.retry,
    r.expires_at <= clock_timestamp() as expired, null::bigint as size, null::bigint as body_size,
    r.headers::text as headers, coalesce(r.{body}::text, '') as body {call_columns}
from {table} r
where r.id = any($1) and r.lease_token = $2 and r.status = 1";

/// Reads leased rows, with as many bodies as there is room for in bytes, and no body that is too large
/// to be sent. OFFSET keeps the text's length from being computed more than once. The length of a text
/// is known only after it is decompressed, so rows that are too large when compressed are not decompressed.
const READ: &str = "\
select r.seq, r.id::text as id, r.{target} as destination, r.key, r.stream, r.signature, r.retry,
    r.expires_at <= clock_timestamp() as expired, r.size,
    r.body_size, r.headers::text as headers,
    case when {fits} then coalesce(r.{body}::text, '') end as body {call_columns}
from (
    select s.*, sum(s.size) over w as total, row_number() over w as nth
    from (
        select l.*, case when l.body_size > $4 then 0
            else coalesce(l.body_size + octet_length(l.headers::text), l.packed) end as size
        from (
            select q.*,
                case when q.before <= $3
                    then (coalesce(octet_length(q.{body}::text), 0){payload_size})::bigint end as body_size
            from (
                select n.*, sum(n.packed) over (order by n.seq, n.id) - n.packed as before
                from (
                    select p.*, (coalesce(pg_column_size(p.{body}), 0){payload_size})::bigint as packed
                    from {table} p
                    where p.id = any($1) and p.lease_token = $2 and p.status = 1) n) q
            offset 0) l) s
    window w as (order by s.seq, s.id)) r";

/// Whether a row is read as a whole.
const FITS: &str = "r.body_size <= $4 and (greatest(r.total, r.before) <= $3 or r.nth = 1)";

const PARTS: ClaimParts = ClaimParts {
    // `?` would be the operator.
    accepted: [
        "coalesce(jsonb_exists($4::jsonb, {row}.stream), false)",
        "jsonb_exists($5::jsonb, {row}.{target})",
        "not coalesce(jsonb_exists($6::jsonb, {row}.stream), false)",
        "not jsonb_exists($7::jsonb, {row}.{target})",
    ],
    ruled_key: "\
coalesce({row}.key, $8::jsonb ->> {row}.stream, $9::jsonb ->> {row}.{target})",
    own: "\
own as materialized (
    select k.key, {if_behind}(
        select min(e.seq) from {table} e
        where e.key = k.key and e.status <> 2 and e.due_at > {now}
            and not coalesce(jsonb_exists($12::jsonb, e.lease_token::text), false)){end} as seq
    from jsonb_array_elements_text($11::jsonb) as k (key)),
own_blocked as materialized (select key, seq from own where seq is not null),",
    own_key: "k.key",
    from: "and p.seq >= $10",
    first: "$10",
    other_key: " and not coalesce(jsonb_exists($13::jsonb, {key}), false)",
    none_blocking: "\
not exists (select 1 from {table} e
    where e.key = {key} and e.status <> 2 and e.due_at > {now} and e.seq < p.seq)",
    // In two ranges of the index, each of which is short: rows that have not failed, and others. Not
    // `status = 1`, or the planner may read all waiting rows, and all dead rows that an old snapshot
    // keeps, in the index without the key.
    behind: "\
exists (select 1 from {table} e
    where e.key = {key} and e.status > 0 and e.status <> 2 and e.due_at = 'epoch'
        and e.seq < $10)
or exists (select 1 from {table} e
    where e.key = {key} and e.status > 0 and e.status <> 2 and e.due_at > 'epoch'
        and e.due_at <= {now} and e.seq < $10)",
};

pub(super) fn lease_rows(
    conn: &mut PgConnection,
    table: LifecycleTable,
    token: Uuid,
    lease: Duration,
    room: Room,
    filter: &Filter,
) -> QueryResult<ClaimResult> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    let is_own = matches!(status.transaction_depth(), Ok(None));
    // Names and texts are written into the statement: several statements sent as one take no parameters.
    let values = [
        room.rows.to_string(),
        format!("'{token}'"),
        format!("{:.6}", lease.as_secs_f64()),
        text_literal(&filter.streams),
        text_literal(&filter.destinations),
        text_literal(&filter.paused),
        text_literal(&filter.open_circuits),
        text_literal(&filter.stream_keys),
        text_literal(&filter.destination_keys),
        filter.from.unwrap_or(i64::MIN).to_string(),
        text_literal(&filter.own_keys()),
        text_literal(&filter.own_tokens()),
        text_literal(&filter.not_keys()),
    ];
    let filled = |statement: &str| {
        let numbered = values.iter().enumerate().rev();
        numbered.fold(statement.to_owned(), |statement, (n, value)| {
            statement.replace(&format!("${}", n + 1), value)
        })
    };
    let (crowd, unless_crowded) = if filter.is_crowded {
        (CROWD, UNLESS_CROWDED)
    } else {
        ("", "")
    };
    let statement = CLAIM
        .replace("{small_size}", SMALL_SIZE)
        .replace("{crowd}", crowd)
        .replace("{unless_crowded}", unless_crowded);
    let statement = PARTS.fill(&statement, table, filter).replace("{now}", NOW);
    let claim = filled(&statement);
    let (lock, claim) = (lock(table), here(&claim));
    let work = format!("select {lock}, {SETTINGS}; {claim}");
    if is_own {
        let all = format!("begin isolation level read committed; {work}; commit");
        if let Err(error) = conn.batch_execute(&all) {
            // Only a lost connection makes this fail.
            let _ = conn.batch_execute("rollback");
            return Err(error);
        }
    } else {
        conn.batch_execute(&format!("select {lock}; {claim}"))?;
    }
    let claimed: Option<String> =
        diesel::select(current_setting("outbox.claimed", true)).get_result(conn)?;
    let ClaimReport {
        taken,
        missed,
        size,
    } = ClaimReport::parse(claimed.as_deref().unwrap_or_default(), token)
        .ok_or_else(|| DeserializationError("the setting outbox.claimed was changed".into()))?;
    let mut locked = Vec::new();
    if !missed.is_empty() {
        let ids: Vec<String> = missed.iter().map(|id| format!("'{id}'")).collect();
        let text = format!(
            "select p.seq, p.id::text as id, {{key}} as key from {{table}} p
            where p.id in ({})
                and (p.status = 1 or p.status = -1 and p.due_at > clock_timestamp())",
            ids.join(", ")
        );
        locked = diesel::sql_query(filled(&PARTS.fill(&text, table, filter))).load(conn)?;
    }
    if taken.is_empty() {
        return Ok(ClaimResult {
            locked,
            ..ClaimResult::default()
        });
    }
    let ids: Vec<Id> = taken.iter().map(|(id, _)| Id(*id)).collect();
    let rows = if size.is_some_and(|size| size <= room.bytes.min(room.largest)) {
        let read = table
            .fill(READ_ALL)
            .replace("{call_columns}", &table.call_columns("r", "true"));
        let read = diesel::sql_query(read)
            .bind::<Array<schema::Uuid>, _>(ids)
            .bind::<schema::Uuid, _>(Id(token));
        load_leased!(table, read, conn)
    } else {
        let read = table
            .fill(READ)
            .replace("{call_columns}", &table.call_columns("r", FITS))
            .replace("{fits}", FITS);
        let read = diesel::sql_query(read)
            .bind::<Array<schema::Uuid>, _>(ids)
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<BigInt, _>(i64::try_from(room.bytes).unwrap_or(i64::MAX))
            .bind::<BigInt, _>(i64::try_from(room.largest).unwrap_or(i64::MAX));
        load_leased!(table, read, conn)
    };
    let waits = taken
        .into_iter()
        .map(|(id, wait)| (RowKey { seq: 0, id }, wait));
    Ok(ClaimResult {
        rows,
        locked,
        waits: waits.collect(),
    })
}

/// An SQL expression that takes the lock of claims on a table.
fn lock(table: LifecycleTable) -> String {
    let key = lock_key(LOCK + table.number);
    format!("pg_advisory_xact_lock_shared({LOCK}), pg_advisory_xact_lock({key})")
}

/// Waits until no claim is in progress: outside of a transaction the lock is released at once.
pub(super) fn await_claims(conn: &mut PgConnection, table: LifecycleTable) -> QueryResult<()> {
    conn.batch_execute(&format!("select {}", lock(table)))
}

/// What a claim has written into the setting of the session.
#[derive(Debug, PartialEq)]
struct ClaimReport {
    /// The claimed rows, each with its wait.
    taken: Vec<(Uuid, Wait)>,
    /// The rows that were locked.
    missed: Vec<Uuid>,
    /// The size in bytes of what is sent of the claimed rows, if each of them is small.
    size: Option<usize>,
}

impl ClaimReport {
    /// Parses the report of the claim under this token.
    fn parse(text: &str, token: Uuid) -> Option<Self> {
        let rest = text.strip_prefix(&token.to_string())?.strip_prefix('/')?;
        let (taken, rest) = rest.split_once('/')?;
        let (missed, size) = rest.split_once('/')?;
        let parts = |list| str::split(list, ',').filter(|part| !part.is_empty());
        let taken = parts(taken).map(|part| {
            let (id, wait) = part.split_once(':')?;
            let wait = Wait::from_number(wait.parse().ok()?);
            Some((Uuid::try_parse(id).ok()?, wait))
        });
        let missed = parts(missed).map(|id| Uuid::try_parse(id).ok());
        Some(Self {
            taken: taken.collect::<Option<_>>()?,
            missed: missed.collect::<Option<_>>()?,
            size: size.parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_claimed_is_read_from_the_session() {
        let (token, a, b) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let read = |text: &str| ClaimReport::parse(text, token);
        let report = |taken, missed, size| {
            Some(ClaimReport {
                taken,
                missed,
                size,
            })
        };
        assert_eq!(read(&format!("{token}///")), report(vec![], vec![], None));
        let wait = |microseconds, was_leased| Wait {
            time: Duration::from_micros(microseconds),
            was_leased,
        };
        assert_eq!(
            read(&format!("{token}/{a}:14,{b}:1/{b}/28")),
            report(
                vec![(a, wait(7, false)), (b, wait(0, true))],
                vec![b],
                Some(28)
            )
        );
        assert_eq!(read(&format!("{token}/{a}//28")), None, "no time");
        assert_eq!(read(&format!("{a}/{b}:1//28")), None, "another claim's");
        assert_eq!(read(""), None);
    }
}
