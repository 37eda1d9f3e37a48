//! SQLite's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use uuid::Uuid;

use super::claim::Words;
use super::dialect::{Dialect, standard};
use super::outbox::Claimed;
use super::qualify::RunQueryDsl;
use super::scope::Filter;
use super::{Storage, never};
use crate::schema::{self, Id, Moment};

/// A row is held up by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The index is named because the scan by the primary key would pass over
/// all the rows that were sent.
const CLAIM: &str = "\
update published as p set {stamp} lease_token = ?1, due_at = ?2
where seq in (
    {own}
    select p.seq
    from published p indexed by published_waiting
    where p.status = 1 and p.due_at <= ?3 {from} {let_through}
        and ({key} is null or {none_held} {none_behind} {none_kept_back})
    order by p.seq
    limit ?13)
returning seq, id, destination, body, headers, key, stream, retry, expires_at <= ?3 as expired";

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

    fn exclusively<T>(&mut self, work: impl FnOnce(&mut Self) -> QueryResult<T>) -> QueryResult<T> {
        // An immediate transaction writes alone.
        self.atomically(work)
    }

    fn claim_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        limit: i64,
        filter: &Filter,
    ) -> QueryResult<Vec<Claimed>> {
        let now = self.now()?;
        let until = now.checked_add_signed(chrono::TimeDelta::from_std(lease).unwrap_or_default());
        // Those that the statement does not use are no harm, but the last one has to be used.
        diesel::sql_query(WORDS.fill(CLAIM, filter))
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
            .bind::<BigInt, _>(limit)
            .load(self)
    }
}
