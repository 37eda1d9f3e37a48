//! PostgreSQL's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Text};
use uuid::Uuid;

use super::dialect::{Dialect, standard};
use super::only::{Filter, filtered};
use super::outbox::Claimed;
use crate::schema::{self, Id, Moment};

/// The key of the advisory lock under which claims are made: "outbox" in ASCII.
const LOCK: i64 = 0x6f75_7462_6f78;

/// A row is held up by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The UPDATE asks again for the status because READ COMMITTED shows it
/// what a holder whose lease had ended settled in the meantime.
const CLAIM: &str = "\
with clock as materialized (select clock_timestamp() as now), ready as materialized (
    select p.id
    from published p, clock
    where p.status = 1 and p.due_at <= clock.now {let_through} and (p.key is null or not exists (
        select 1 from published e
        where e.key = p.key and e.status <> 2 and e.due_at > clock.now and e.seq < p.seq)
        {none_kept_back})
    order by p.seq
    limit $1)
update published p
set lease_token = $2, due_at = clock.now + make_interval(secs => $3)
from ready, clock
where p.id = ready.id and p.status = 1 and p.due_at <= clock.now
returning p.seq, p.id, p.destination, p.body::text as body, p.headers::text as headers, p.key,
    p.retry, p.expires_at <= clock.now as expired";

/// Whether the filter lets a row through. `?` would be the operator for it.
const LET_THROUGH: &str = "\
($4 = '[]' or coalesce(jsonb_exists($4::jsonb, {row}.stream), false))
and ($5 = '[]' or jsonb_exists($5::jsonb, {row}.destination))
and not coalesce(jsonb_exists($6::jsonb, {row}.stream), false)";

impl Dialect for diesel::PgConnection {
    const NOW: &'static str = "clock_timestamp()";
    const INSERT_JOB: &'static str = standard::INSERT_JOB;
    const BEGIN_JOB: &'static str = standard::BEGIN_JOB;
    const PAUSE_STREAM: &'static str = standard::PAUSE_STREAM;
    const DELETE_PUBLISHED: &'static str = standard::DELETE_PUBLISHED;
    const DELETE_RECEIVED: &'static str = standard::DELETE_RECEIVED;

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn exclusively<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        self.transaction(|conn| {
            // With statistics that lag behind, the planner would sort all waiting rows.
            conn.batch_execute(&format!(
                "select pg_advisory_xact_lock({LOCK}), set_config('enable_sort', 'off', true)"
            ))?;
            work(conn)
        })
    }

    fn claim_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        limit: i64,
        filter: Option<&Filter>,
    ) -> QueryResult<Vec<Claimed>> {
        let query = diesel::sql_query(filtered(CLAIM, filter.map(|_| LET_THROUGH)))
            .bind::<BigInt, _>(limit)
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<Double, _>(lease.as_secs_f64());
        match filter {
            None => query.load(self),
            Some(filter) => query
                .bind::<Text, _>(&filter.streams)
                .bind::<Text, _>(&filter.destinations)
                .bind::<Text, _>(&filter.paused)
                .load(self),
        }
    }
}
