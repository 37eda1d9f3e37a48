//! PostgreSQL's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Text};
use uuid::Uuid;

use super::claim::Words;
use super::dialect::{Dialect, standard};
use super::outbox::Claimed;
use super::qualify::{RunQueryDsl, lock_key};
use super::scope::Filter;
use crate::schema::{self, Id, Moment};

/// The advisory lock under which claims are made: "outbox" in ASCII. Versions that did not know
/// the schema took it alone, so that it is shared by those that take the one of their outbox.
const LOCK: i64 = 0x6f75_7462_6f78;

/// The claim has one good plan: along the indexes. With statistics that lag behind, the planner would
/// sort all waiting rows or read the whole table, and compile the statement at each claim; a bitmap
/// scan goes to every dead row of a key anew, where an index scan marks it. And a process that is
/// stopped in the middle of a claim is not to hold up all others.
const OWN_SETTINGS: &str = "\
set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
set_config('idle_in_transaction_session_timeout', '5s', true)";

/// A row is held up by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The UPDATE asks again for the status because READ COMMITTED shows it
/// what a holder whose lease had ended settled in the meantime.
const CLAIM: &str = "\
with clock as materialized (select clock_timestamp() as now), {own} ready as materialized (
    select p.id
    from published p, clock
    where p.status = 1 and p.due_at <= clock.now {from} {let_through}
        and ({key} is null or {none_held} {none_behind} {none_kept_back})
    order by p.seq
    limit $1)
update published p
set {stamp} lease_token = $2, due_at = clock.now + make_interval(secs => $3)
from ready, clock
where p.id = ready.id and p.status = 1 and p.due_at <= clock.now
returning p.seq, p.id, p.destination, p.body::text as body, p.headers::text as headers, p.key,
    p.stream, p.retry, p.expires_at <= clock.now as expired";

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
    const DELETE_PUBLISHED: &'static str = standard::DELETE_PUBLISHED;
    const DELETE_RECEIVED: &'static str = standard::DELETE_RECEIVED;
    const DELETE_DELIVERIES: &'static str = standard::DELETE_DELIVERIES;
    const BEGIN_AGAIN: &'static str = standard::BEGIN_AGAIN;

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn exclusively<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        let is_own = matches!(status.transaction_depth(), Ok(None));
        self.transaction(|conn| {
            // They would last to the end of the caller's transaction.
            let settings = if is_own { OWN_SETTINGS } else { "null" };
            conn.batch_execute(&format!(
                "select pg_advisory_xact_lock_shared({LOCK}), pg_advisory_xact_lock({}), {settings}",
                lock_key(LOCK)
            ))?;
            work(conn)
        })
    }

    fn claim_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        limit: i64,
        filter: &Filter,
    ) -> QueryResult<Vec<Claimed>> {
        // Those that the statement does not use are no harm.
        diesel::sql_query(WORDS.fill(CLAIM, filter))
            .bind::<BigInt, _>(limit)
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<Double, _>(lease.as_secs_f64())
            .bind::<Text, _>(&filter.streams)
            .bind::<Text, _>(&filter.destinations)
            .bind::<Text, _>(&filter.paused)
            .bind::<Text, _>(&filter.set_aside)
            .bind::<Text, _>(&filter.stream_keys)
            .bind::<Text, _>(&filter.destination_keys)
            .bind::<BigInt, _>(filter.from.unwrap_or(i64::MIN))
            .bind::<Text, _>(filter.own_keys())
            .bind::<Text, _>(filter.own_tokens())
            .load(self)
    }
}
