//! Maintenance of the tables: deleting old rows, counting rows, jobs and streams.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::dialect::Dialect;
use super::lifecycle::{CALLS, COUNT_LIMIT, Lifecycle, PUBLISHED, WAITING};
use super::moments::before;
use super::outbox_write;
use super::qualify::RunQueryDsl;
use crate::schema::{
    self, Moment, outbox_calls, outbox_deliveries, outbox_jobs, outbox_streams, published, received,
};

/// A table that is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The outbox.
    Published,
    /// Function calls.
    Calls,
    /// The inbox.
    Received,
    /// The counted deliveries.
    Deliveries,
}

#[derive(QueryableByName)]
struct StreamName {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The other statements of the programs, besides sending and receiving; not for use by hand.
#[doc(hidden)]
pub trait Maintenance {
    /// The server's version as it reports it; empty if the database is compiled in.
    fn server_version(&mut self) -> QueryResult<String>;

    /// Whether clients may reach the server through a pooler that gives them another session for
    /// each transaction.
    const HAS_POOLERS: bool;

    /// The number of the server's session that this connection uses now.
    fn session(&mut self) -> QueryResult<i64>;

    /// Fails if a table of the outbox is missing or lacks a column.
    fn check_tables(&mut self) -> QueryResult<()>;

    /// Returns the time that was `age` ago, by the database's clock.
    fn ago(&mut self, age: Duration) -> QueryResult<DateTime<Utc>>;

    /// Deletes up to `batch` rows of a table that were written up to a time; of `published` and
    /// `outbox_calls` only those that succeeded up to that time.
    fn delete_until(
        &mut self,
        table: Table,
        moment: DateTime<Utc>,
        batch: i64,
    ) -> QueryResult<usize>;

    /// [`delete_until`](Self::delete_until) the time that was `age` ago.
    fn delete_older(&mut self, table: Table, age: Duration, batch: i64) -> QueryResult<usize> {
        let moment = self.ago(age)?;
        self.delete_until(table, moment, batch)
    }

    /// Whether the job was not started within `interval`; if so, it now counts as started.
    fn begin_job(&mut self, name: &str, interval: Duration) -> QueryResult<bool>;

    /// Makes a failed job due again after `pause` instead of `interval`.
    fn postpone_job(&mut self, name: &str, interval: Duration, pause: Duration) -> QueryResult<()>;

    /// Returns the names of the jobs that were started within this time.
    fn jobs_within(&mut self, age: Duration) -> QueryResult<Vec<String>>;

    /// Pauses or resumes a stream, which may have no row yet.
    fn pause_stream(&mut self, name: &str, paused: bool) -> QueryResult<()>;

    /// Whether the stream exists: a row has it, or it was once paused or resumed.
    fn knows_stream(&mut self, name: &str) -> QueryResult<bool>;

    /// Returns the streams that were looked up, paused or resumed, and those of the oldest [`COUNT_LIMIT`] rows that
    /// wait.
    fn streams(&mut self) -> QueryResult<Vec<String>>;

    /// Returns the streams that are paused.
    fn paused_streams(&mut self) -> QueryResult<Vec<String>>;

    /// Counts the messages in the inbox. It reads all of them.
    fn count_received(&mut self) -> QueryResult<i64>;

    /// Returns all rows of the outbox, in the order in which they were written.
    #[cfg(feature = "testing")]
    fn published_rows(&mut self) -> QueryResult<Vec<crate::testing::PublishedRow>>;
}

macro_rules! maintenance {
    ($module:ident: $connection:ty) => {
        impl Maintenance for $connection {
            fn server_version(&mut self) -> QueryResult<String> {
                match Self::VERSION {
                    Some(version) => diesel::select(sql::<Text>(version)).get_result(self),
                    None => Ok(String::new()),
                }
            }

            const HAS_POOLERS: bool = Self::SESSION.is_some();

            fn session(&mut self) -> QueryResult<i64> {
                match Self::SESSION {
                    Some(session) => diesel::select(sql::<BigInt>(session)).get_result(self),
                    None => Ok(0),
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
                diesel::sql_query("select id, crashes from outbox_calls limit 0").execute(self)?;
                Ok(())
            }

            fn ago(&mut self, age: Duration) -> QueryResult<DateTime<Utc>> {
                Ok(before(self.now()?, age))
            }

            fn delete_until(
                &mut self,
                table: Table,
                moment: DateTime<Utc>,
                batch: i64,
            ) -> QueryResult<usize> {
                let statement = match table {
                    Table::Published => return self.delete_settled(PUBLISHED, moment, batch),
                    Table::Calls => return self.delete_settled(CALLS, moment, batch),
                    Table::Received => Self::DELETE_RECEIVED,
                    Table::Deliveries => Self::DELETE_DELIVERIES,
                };
                diesel::sql_query(statement)
                    .bind::<schema::Utc, _>(Moment(moment))
                    .bind::<BigInt, _>(batch)
                    .execute(self)
            }

            fn begin_job(&mut self, name: &str, interval: Duration) -> QueryResult<bool> {
                let now = self.now()?;
                // Not by the number of rows that an upsert changes: MySQL counts the rows that it found.
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

            fn postpone_job(
                &mut self,
                name: &str,
                interval: Duration,
                pause: Duration,
            ) -> QueryResult<()> {
                let begun = before(self.now()?, interval.saturating_sub(pause));
                diesel::update(outbox_jobs::table.find(name))
                    .set(outbox_jobs::begun.eq(Moment(begun)))
                    .execute(self)
                    .map(drop)
            }

            fn jobs_within(&mut self, age: Duration) -> QueryResult<Vec<String>> {
                let since = Moment(before(self.now()?, age));
                outbox_jobs::table
                    .filter(outbox_jobs::begun.ge(since))
                    .select(outbox_jobs::name)
                    .load(self)
            }

            fn pause_stream(&mut self, name: &str, paused: bool) -> QueryResult<()> {
                let statement = diesel::sql_query(Self::PAUSE_STREAM)
                    .bind::<Text, _>(name)
                    .bind::<Bool, _>(paused);
                if paused {
                    return statement.execute(self).map(drop);
                }
                // The rows of the stream can be claimed.
                outbox_write::write(|| statement.execute(self)).map(drop)
            }

            fn knows_stream(&mut self, name: &str) -> QueryResult<bool> {
                let is_noted = outbox_streams::table.find(name);
                if diesel::select(diesel::dsl::exists(is_noted)).get_result(self)? {
                    return Ok(true);
                }
                let is_used = diesel::select(diesel::dsl::exists(
                    published::table.filter(published::stream.eq(name)),
                ))
                .get_result(self)?
                    || diesel::select(diesel::dsl::exists(
                        outbox_calls::table.filter(outbox_calls::stream.eq(name)),
                    ))
                    .get_result(self)?;
                if is_used {
                    // No index finds the rows of a stream, so the next look-up finds it here.
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
                for table in [PUBLISHED, CALLS] {
                    let waiting: Vec<StreamName> = diesel::sql_query(table.fill(&format!(
                        "select distinct w.stream as name from (
                            select stream from {{table}} {} where status = {WAITING}
                            order by seq limit {COUNT_LIMIT}
                        ) w where w.stream is not null",
                        Self::BY_WAITING
                    )))
                    .load(self)?;
                    streams.extend(waiting.into_iter().map(|it| it.name));
                }
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

            fn count_received(&mut self) -> QueryResult<i64> {
                received::table.count().get_result(self)
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

super::databases!(maintenance);
