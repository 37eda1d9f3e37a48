//! SQLite's words for the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use uuid::Uuid;

use super::dialect::{Dialect, standard};
use super::only::{Filter, filtered};
use super::outbox::Claimed;
use super::{Storage, never};
use crate::schema::{self, Id, Moment};

/// A row is held up by an earlier one of its key that is leased, waits or is parked: each of them
/// has a `due_at` to come. The index is named because the scan by the primary key would pass over
/// all the rows that were sent.
const CLAIM: &str = "\
update published set lease_token = ?1, due_at = ?2
where seq in (
    select p.seq
    from published p indexed by published_waiting
    where p.status = 1 and p.due_at <= ?3 {let_through} and (p.key is null or not exists (
        select 1 from published e
        where e.key = p.key and e.status <> 2 and e.due_at > ?3 and e.seq < p.seq)
        {none_kept_back})
    order by p.seq
    limit ?4)
returning seq, id, destination, body, headers, key, retry, expires_at <= ?3 as expired";

/// Whether the filter lets a row through.
const LET_THROUGH: &str = "\
(?5 = '[]' or coalesce({row}.stream in (select value from json_each(?5)), 0))
and (?6 = '[]' or {row}.destination in (select value from json_each(?6)))
and not coalesce({row}.stream in (select value from json_each(?7)), 0)";

impl Dialect for diesel::SqliteConnection {
    const NOW: &'static str = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'";
    const VERSION: Option<&'static str> = None;
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
        // An immediate transaction writes alone.
        self.atomically(work)
    }

    fn claim_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        limit: i64,
        filter: Option<&Filter>,
    ) -> QueryResult<Vec<Claimed>> {
        let now = self.now()?;
        let until = now.checked_add_signed(chrono::TimeDelta::from_std(lease).unwrap_or_default());
        let query = diesel::sql_query(filtered(CLAIM, filter.map(|_| LET_THROUGH)))
            .bind::<schema::Uuid, _>(Id(token))
            .bind::<schema::Utc, _>(Moment(until.unwrap_or_else(never)))
            .bind::<schema::Utc, _>(Moment(now))
            .bind::<BigInt, _>(limit);
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
