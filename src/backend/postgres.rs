//! PostgreSQL's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error::DeserializationError;
use diesel::sql_types::{Array, BigInt};
use uuid::Uuid;

use functions::{clock_timestamp, current_setting};

use super::claim::Words;
use super::claimed::{Leased, LockedRow, Room, RowKey};
use super::dialect::{Dialect, End, standard};
use super::outbox::SUCCEEDED;
use super::qualify::{RunQueryDsl, here, lock_key};
use super::scope::Filter;
use crate::schema::{self, Id, Moment, published};

/// The advisory lock under which claims are made: "outbox" in ASCII. Versions that did not know
/// the schema took it alone, so that it is shared by those that take the one of their outbox.
const LOCK: i64 = 0x6f75_7462_6f78;

/// The claim has one good plan: along the indexes. With statistics that lag behind, the planner would
/// sort all waiting rows or read the whole table, and compile the statement at each claim; a bitmap
/// scan goes to every dead row of a key anew, where an index scan marks it.
const SETTINGS: &str = "\
set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)";

/// A row is blocked by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. A row is asked again for its status and time when it is locked, because
/// READ COMMITTED shows what a holder whose lease had ended settled in the meantime. The rows that
/// could not be had are returned too: the later ones of their keys have to wait for them. All of it
/// goes into a setting of the session, for the client gets no rows from several statements that it
/// sends as one.
const CLAIM: &str = "\
with clock as materialized (select clock_timestamp() as now), {own} ready as materialized (
    select p.id
    from published p, clock
    where p.status = 1 and p.due_at <= clock.now {from} {let_through} {others}
        and ({key} is null or {none_held} {none_behind} {none_kept_back})
    order by {order}
    limit $1),
free as materialized (
    select p.id
    from ready, published p, clock
    where p.id = ready.id and p.status = 1 and p.due_at <= clock.now
    for no key update of p skip locked),
taken as (
    update published p
    set {stamp} lease_token = $2, due_at = clock.now + make_interval(secs => $3)
    from free, clock
    where p.id = free.id
    returning p.id)
select count(set_config('outbox.claimed', $2 || '/'
    || coalesce((select string_agg(id::text, ',') from taken), '') || '/'
    || coalesce((select string_agg(id::text, ',') from ready
        where id not in (select id from free)), ''), false))";

/// Reads leased rows, with as many bodies as there is room for in bytes, and none that is too large
/// to be sent. OFFSET keeps the text's length from being asked for more than once. How long a text is shows
/// only when it is unpacked, hence this is not done to rows that take up too much as they are.
const READ: &str = "\
select r.seq, r.id::text as id, r.destination, r.key, r.stream, r.retry,
    r.expires_at <= clock_timestamp() as expired, r.size,
    r.body_size, r.headers::text as headers,
    case when r.body_size <= $4 and (greatest(r.total, r.before) <= $3 or r.nth = 1)
        then r.body::text end as body
from (
    select s.*, sum(s.size) over w as total, row_number() over w as nth
    from (
        select l.*, case when l.body_size > $4 then 0
            else coalesce(l.body_size + octet_length(l.headers::text), l.packed) end as size
        from (
            select q.*,
                case when q.before <= $3 then octet_length(q.body::text)::bigint end as body_size
            from (
                select p.*, pg_column_size(p.body)::bigint as packed,
                    sum(pg_column_size(p.body)) over (order by p.seq, p.id)
                        - pg_column_size(p.body) as before
                from published p
                where p.id = any($1) and p.lease_token = $2 and p.status = 1) q
            offset 0) l) s
    window w as (order by s.seq, s.id)) r";

const WORDS: Words = Words {
    // `?` would be the operator for it.
    let_through: "\
($4 = '[]' or coalesce(jsonb_exists($4::jsonb, {row}.stream), false))
and ($5 = '[]' or jsonb_exists($5::jsonb, {row}.destination))
and not coalesce(jsonb_exists($6::jsonb, {row}.stream), false)
and not jsonb_exists($7::jsonb, {row}.destination)",
    ruled_key: "\
coalesce({row}.key, $8::jsonb ->> {row}.stream, $9::jsonb ->> {row}.destination)",
    own: "\
own as materialized (
    select k.key, (
        select min(e.seq) from published e
        where e.key = k.key and e.status <> 2 and e.due_at > clock.now
            and not coalesce(jsonb_exists($12::jsonb, e.lease_token::text), false)) as seq
    from clock, jsonb_array_elements_text($11::jsonb) as k (key)),
own_held as materialized (select key, seq from own where seq is not null),",
    from: "and p.seq >= $10",
    first: "$10",
    other_key: " and not coalesce(jsonb_exists($13::jsonb, {key}), false)",
    none_held: "\
not exists (select 1 from published e
    where e.key = {key} and e.status <> 2 and e.due_at > clock.now and e.seq < p.seq)",
    // In two ranges of the index, each of which is short: rows that nobody has tried, and others.
    none_behind: "\
and not exists (select 1 from published e
    where e.key = {key} and e.status = 1 and e.status <> 2 and e.due_at = 'epoch' and e.seq < $10)
and not exists (select 1 from published e
    where e.key = {key} and e.status = 1 and e.status <> 2 and e.due_at > 'epoch'
        and e.due_at <= clock.now and e.seq < $10)",
};

impl Dialect for diesel::PgConnection {
    const NOW: &'static str = "clock_timestamp()";
    const INSERT_JOB: &'static str = standard::INSERT_JOB;
    const BEGIN_JOB: &'static str = standard::BEGIN_JOB;
    const PAUSE_STREAM: &'static str = standard::PAUSE_STREAM;
    const INSERT_STREAM: &'static str = standard::INSERT_STREAM;
    // Rows that another session has locked are left for the next time.
    const DELETE_PUBLISHED: &'static str = "\
        delete from published where id in (
            select id from published where status = 2 and added <= $1 order by added limit $2
            for update skip locked)";
    const DELETE_RECEIVED: &'static str = "\
        delete from received where id in (
            select id from received where added <= $1 order by added limit $2
            for update skip locked)";
    const DELETE_DELIVERIES: &'static str = "\
        delete from outbox_deliveries where (msg_id, consumer) in (
            select msg_id, consumer from outbox_deliveries where last_begun <= $1 limit $2
            for update skip locked)";
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
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        let is_own = matches!(status.transaction_depth(), Ok(None));
        // Names and texts are written into the statement: several of them take no parameters.
        let values = [
            room.rows.to_string(),
            format!("'{token}'"),
            format!("{:.6}", lease.as_secs_f64()),
            literal(&filter.streams),
            literal(&filter.destinations),
            literal(&filter.paused),
            literal(&filter.set_aside),
            literal(&filter.stream_keys),
            literal(&filter.destination_keys),
            filter.from.unwrap_or(i64::MIN).to_string(),
            literal(&filter.own_keys()),
            literal(&filter.own_tokens()),
            literal(&filter.not_keys()),
        ];
        let filled = |statement: &str| {
            let numbered = values.iter().enumerate().rev();
            numbered.fold(statement.to_owned(), |statement, (n, value)| {
                statement.replace(&format!("${}", n + 1), value)
            })
        };
        let claim = filled(&WORDS.fill(CLAIM, filter));
        let (lock, claim) = (lock(), here(&claim));
        let work = format!("select {lock}, {SETTINGS}; {claim}");
        if is_own {
            let all = format!("begin isolation level read committed; {work}; commit");
            if let Err(error) = self.batch_execute(&all) {
                // Nothing but a lost connection keeps this from working.
                let _ = self.batch_execute("rollback");
                return Err(error);
            }
        } else {
            self.batch_execute(&format!("select {lock}; {claim}"))?;
        }
        let claimed: Option<String> =
            diesel::select(current_setting("outbox.claimed", true)).get_result(self)?;
        let (taken, missed) = ids_of(claimed.as_deref().unwrap_or_default(), token)
            .ok_or_else(|| DeserializationError("the setting outbox.claimed was changed".into()))?;
        let mut locked = Vec::new();
        if !missed.is_empty() {
            let ids: Vec<String> = missed.iter().map(|id| format!("'{id}'")).collect();
            let text = format!(
                "select p.seq, p.id::text as id, {{key}} as key from published p
                where p.id in ({})
                    and (p.status = 1 or p.status = -1 and p.due_at > clock_timestamp())",
                ids.join(", ")
            );
            locked = diesel::sql_query(filled(&WORDS.fill(&text, filter))).load(self)?;
        }
        if taken.is_empty() {
            return Ok((Vec::new(), locked));
        }
        let leased = diesel::sql_query(READ)
            .bind::<Array<schema::Uuid>, _>(taken)
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<BigInt, _>(i64::try_from(room.bytes).unwrap_or(i64::MAX))
            .bind::<BigInt, _>(i64::try_from(room.largest).unwrap_or(i64::MAX))
            .load(self)?;
        Ok((leased, locked))
    }

    fn await_claims(&mut self) -> QueryResult<()> {
        // Outside of a transaction it is let go at once.
        self.batch_execute(&format!("select {}", lock()))
    }

    fn settle(&mut self, token: Uuid, rows: &[RowKey], end: &End<'_>) -> QueryResult<usize> {
        let ids: Vec<Id> = rows.iter().map(|row| Id(row.id)).collect();
        let free = diesel::alias!(published as free);
        let free = free
            .filter(free.field(published::id).eq_any(ids))
            .filter(free.field(published::lease_token).eq(Id(token)))
            // Not `= 1`, or the planner may take the partial index.
            .filter(free.field(published::status).ne(SUCCEEDED))
            .select(free.field(published::id))
            .for_no_key_update()
            .skip_locked();
        let update = diesel::update(published::table).filter(published::id.eq_any(free));
        match end {
            End::Sent => update
                .set((
                    published::status.eq(SUCCEEDED),
                    published::sent_at.eq(clock_timestamp().nullable()),
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
        let ids: Vec<Id> = rows.iter().map(|row| Id(row.id)).collect();
        let free: Vec<Id> = published::table
            .filter(published::id.eq_any(ids))
            .select(published::id)
            .for_no_key_update()
            .skip_locked()
            .load(self)?;
        let rows = rows.iter().filter(|row| free.contains(&Id(row.id)));
        Ok(rows.copied().collect())
    }

    fn limit_lock_waits(&mut self, limit: Duration) -> QueryResult<()> {
        self.batch_execute(&format!("set lock_timeout = {}", limit.as_millis()))
    }

    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    fn spelled_otherwise(&mut self, _: i32, _: Uuid) -> QueryResult<Vec<i64>> {
        Ok(Vec::new())
    }
}

mod functions {
    use diesel::sql_types::{Bool, Text};

    diesel::define_sql_function! {
        fn current_setting(name: Text, missing_ok: Bool) -> Nullable<Text>;
    }
    diesel::define_sql_function! {
        fn clock_timestamp() -> crate::schema::Utc;
    }
}

/// What takes the lock of claims.
fn lock() -> String {
    let key = lock_key(LOCK);
    format!("pg_advisory_xact_lock_shared({LOCK}), pg_advisory_xact_lock({key})")
}

/// A text as an expression that needs no quotes, whatever the server's and the client's settings.
fn literal(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("convert_from(decode('{digits}', 'hex'), 'UTF8')")
}

/// The rows that were claimed under this token, and those that could not be had.
fn ids_of(claimed: &str, token: Uuid) -> Option<(Vec<Id>, Vec<Uuid>)> {
    let rest = claimed
        .strip_prefix(&token.to_string())?
        .strip_prefix('/')?;
    let (taken, missed) = rest.split_once('/')?;
    let ids = |list: &str| -> Option<Vec<Uuid>> {
        let ids = list.split(',').filter(|id| !id.is_empty());
        ids.map(|id| Uuid::try_parse(id).ok()).collect()
    };
    Some((ids(taken)?.into_iter().map(Id).collect(), ids(missed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_claimed_is_read_from_the_session() {
        let (token, a, b) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let read = |text: &str| ids_of(text, token);
        assert_eq!(read(&format!("{token}//")), Some((vec![], vec![])));
        assert_eq!(
            read(&format!("{token}/{a},{b}/{b}")),
            Some((vec![Id(a), Id(b)], vec![b]))
        );
        assert_eq!(read(&format!("{a}/{b}/")), None, "another claim's");
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_literal_is_nothing_but_digits() {
        assert_eq!(
            literal(r"a'\$1"),
            "convert_from(decode('61275c2431', 'hex'), 'UTF8')"
        );
    }
}
