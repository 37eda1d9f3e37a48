//! What keeps the tables in order: deleting what is old, counting what is there.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::dialect::Dialect;
use super::outbox::{FAILED, SCHEDULE, SUCCEEDED};
use super::qualify::RunQueryDsl;
use crate::schema::{
    self, Moment, outbox_deliveries, outbox_jobs, outbox_streams, published, received,
};

/// One of the tables that are cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The outbox.
    Published,
    /// The inbox.
    Received,
    /// The deliveries that are counted.
    Deliveries,
}

/// What is in the outbox and the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Rows that wait to be sent, be it for a relay, for another attempt or under a lease.
    pub waiting: i64,
    /// Of those, the ones that are not due yet: leased, or held back after a failure.
    pub not_due: i64,
    /// Rows that are parked, each with its reason in `last_error`.
    pub failed: i64,
    /// Rows that the broker has, and that were not deleted yet.
    pub sent: i64,
    /// When the oldest waiting row was written.
    pub oldest_waiting: Option<DateTime<Utc>>,
    /// Messages in the inbox.
    pub received: i64,
}

/// What the programs do with the tables besides sending and receiving; not for use by hand.
#[doc(hidden)]
pub trait Upkeep {
    /// The server's version in its own words; empty where it is compiled in.
    fn server_version(&mut self) -> QueryResult<String>;

    /// Fails where a table of the outbox is missing or has another shape.
    fn check_tables(&mut self) -> QueryResult<()>;

    /// Deletes up to `batch` rows of a table that were written longer ago than `age`: of
    /// `published` only those that succeeded.
    fn delete_older(&mut self, table: Table, age: Duration, batch: i64) -> QueryResult<usize>;

    /// Whether the job was not begun for `interval`; if so it now counts as begun.
    fn begin_job(&mut self, name: &str, interval: Duration) -> QueryResult<bool>;

    /// The names of the jobs that were begun within this time.
    fn jobs_within(&mut self, age: Duration) -> QueryResult<Vec<String>>;

    /// Pauses a stream, or lets it go on; it may have no row yet.
    fn pause_stream(&mut self, name: &str, paused: bool) -> QueryResult<()>;

    /// Whether there is such a stream: a row has it, or it was paused or resumed once.
    fn knows_stream(&mut self, name: &str) -> QueryResult<bool>;

    /// The streams that were looked for, paused or resumed, and those of rows that wait.
    fn streams(&mut self) -> QueryResult<Vec<String>>;

    /// The streams that are paused.
    fn paused_streams(&mut self) -> QueryResult<Vec<String>>;

    /// Counts the rows that wait, at a cost that does not grow with those that were sent; and says
    /// when the oldest of them was written.
    fn waiting(&mut self) -> QueryResult<(i64, Option<DateTime<Utc>>)>;

    /// Counts the rows: a look at all of them.
    fn counts(&mut self) -> QueryResult<Counts>;

    /// All rows of the outbox, in the order in which they were written.
    #[cfg(feature = "testing")]
    fn published_rows(&mut self) -> QueryResult<Vec<crate::testing::PublishedRow>>;
}

fn before(now: DateTime<Utc>, age: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(age)
        .ok()
        .and_then(|age| now.checked_sub_signed(age))
        .unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
}

macro_rules! upkeep {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Upkeep for $connection {
            fn server_version(&mut self) -> QueryResult<String> {
                match Self::VERSION {
                    Some(version) => diesel::select(sql::<Text>(version)).get_result(self),
                    None => Ok(String::new()),
                }
            }

            fn check_tables(&mut self) -> QueryResult<()> {
                published::table
                    .select((published::id, published::seq, published::due_at))
                    .filter(published::status.eq(0))
                    .limit(0)
                    .execute(self)?;
                received::table
                    .select((received::msg_id, received::consumer))
                    .limit(0)
                    .execute(self)?;
                diesel::sql_query("select name, begun from outbox_jobs limit 0").execute(self)?;
                outbox_streams::table.limit(0).execute(self)?;
                outbox_deliveries::table.limit(0).execute(self)?;
                Ok(())
            }

            fn delete_older(
                &mut self,
                table: Table,
                age: Duration,
                batch: i64,
            ) -> QueryResult<usize> {
                let before = Moment(before(self.now()?, age));
                let statement = match table {
                    Table::Published => Self::DELETE_PUBLISHED,
                    Table::Received => Self::DELETE_RECEIVED,
                    Table::Deliveries => Self::DELETE_DELIVERIES,
                };
                diesel::sql_query(statement)
                    .bind::<schema::Utc, _>(before)
                    .bind::<BigInt, _>(batch)
                    .execute(self)
            }

            fn begin_job(&mut self, name: &str, interval: Duration) -> QueryResult<bool> {
                let now = self.now()?;
                // Not told by the rows that an upsert changes: MySQL counts those it found.
                diesel::sql_query(Self::INSERT_JOB)
                    .bind::<schema::Utc, _>(Moment(DateTime::UNIX_EPOCH))
                    .bind::<Text, _>(name)
                    .execute(self)?;
                let begun = diesel::sql_query(Self::BEGIN_JOB)
                    .bind::<schema::Utc, _>(Moment(now))
                    .bind::<Text, _>(name)
                    .bind::<schema::Utc, _>(Moment(before(now, interval)))
                    .execute(self)?;
                Ok(begun > 0)
            }

            fn jobs_within(&mut self, age: Duration) -> QueryResult<Vec<String>> {
                let since = Moment(before(self.now()?, age));
                outbox_jobs::table
                    .filter(outbox_jobs::begun.ge(since))
                    .select(outbox_jobs::name)
                    .load(self)
            }

            fn pause_stream(&mut self, name: &str, paused: bool) -> QueryResult<()> {
                diesel::sql_query(Self::PAUSE_STREAM)
                    .bind::<Text, _>(name)
                    .bind::<Bool, _>(paused)
                    .execute(self)
                    .map(drop)
            }

            fn knows_stream(&mut self, name: &str) -> QueryResult<bool> {
                let is_noted = outbox_streams::table.find(name);
                if diesel::select(diesel::dsl::exists(is_noted)).get_result(self)? {
                    return Ok(true);
                }
                let is_used = published::table.filter(published::stream.eq(name));
                let is_used = diesel::select(diesel::dsl::exists(is_used)).get_result(self)?;
                if is_used {
                    // The rows of a stream are in no index: the next time it is looked up here.
                    diesel::sql_query(Self::INSERT_STREAM)
                        .bind::<Text, _>(name)
                        .execute(self)?;
                }
                Ok(is_used)
            }

            fn streams(&mut self) -> QueryResult<Vec<String>> {
                let mut streams: Vec<String> = outbox_streams::table
                    .select(outbox_streams::name)
                    .load(self)?;
                let waiting: Vec<Option<String>> = published::table
                    .filter(published::status.eq(SCHEDULE))
                    .filter(published::stream.is_not_null())
                    .select(published::stream)
                    .distinct()
                    .load(self)?;
                streams.extend(waiting.into_iter().flatten());
                streams.sort_unstable();
                streams.dedup();
                Ok(streams)
            }

            fn paused_streams(&mut self) -> QueryResult<Vec<String>> {
                outbox_streams::table
                    .filter(outbox_streams::paused.eq(true))
                    .select(outbox_streams::name)
                    .order(outbox_streams::name)
                    .load(self)
            }

            fn waiting(&mut self) -> QueryResult<(i64, Option<DateTime<Utc>>)> {
                let waiting = published::table.filter(published::status.eq(SCHEDULE));
                let oldest: Option<Moment> = waiting
                    .select(published::added)
                    .order(published::seq)
                    .first(self)
                    .optional()?;
                let rows = waiting.count().get_result(self)?;
                Ok((rows, oldest.map(|moment| moment.0)))
            }

            fn counts(&mut self) -> QueryResult<Counts> {
                let now = Moment(self.now()?);
                let of = |status: i32| published::table.filter(published::status.eq(status));
                let (waiting, oldest_waiting) = self.waiting()?;
                Ok(Counts {
                    waiting,
                    not_due: of(SCHEDULE)
                        .filter(published::due_at.gt(now))
                        .count()
                        .get_result(self)?,
                    failed: of(FAILED).count().get_result(self)?,
                    sent: of(SUCCEEDED).count().get_result(self)?,
                    oldest_waiting,
                    received: received::table.count().get_result(self)?,
                })
            }

            #[cfg(feature = "testing")]
            fn published_rows(&mut self) -> QueryResult<Vec<crate::testing::PublishedRow>> {
                type Row = (
                    schema::Id,
                    String,
                    schema::Document,
                    schema::Document,
                    Option<String>,
                    Option<String>,
                    i32,
                );
                let rows: Vec<Row> = published::table
                    .select((
                        published::id,
                        published::destination,
                        published::body,
                        published::headers,
                        published::key,
                        published::stream,
                        published::status,
                    ))
                    .order(published::seq)
                    .load(self)?;
                Ok(rows
                    .into_iter()
                    .map(crate::testing::PublishedRow::of)
                    .collect())
            }
        }
    };
}

upkeep!("postgres", diesel::PgConnection);
upkeep!("mysql", diesel::MysqlConnection);
upkeep!("sqlite", diesel::SqliteConnection);
