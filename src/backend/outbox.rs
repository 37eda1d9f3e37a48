//! The outbox as a relay sees it: rows are claimed under a lease, then settled or given back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::dialect::Dialect;
use super::never;
use super::qualify::RunQueryDsl;
use super::scope::{Filter, Scope};
use super::upkeep::Upkeep;
use crate::schema::{self, Id, Moment, published};

pub(super) const FAILED: i32 = -1;
pub(super) const SCHEDULE: i32 = 1;
pub(crate) const SUCCEEDED: i32 = 2;

/// A row under a lease.
#[doc(hidden)]
#[derive(Debug, Clone, QueryableByName)]
pub struct Claimed {
    /// The order of writing.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// The message's id.
    #[diesel(sql_type = schema::Uuid, deserialize_as = Id)]
    pub id: Uuid,
    /// Where it goes.
    #[diesel(sql_type = Text)]
    pub destination: String,
    /// The body as JSON text, just as the database has it.
    #[diesel(sql_type = Text)]
    pub body: String,
    /// The headers as JSON text.
    #[diesel(sql_type = Text)]
    pub headers: String,
    /// The ordering key, its own or by a rule.
    #[diesel(sql_type = Nullable<Text>)]
    pub key: Option<String>,
    /// The stream.
    #[diesel(sql_type = Nullable<Text>)]
    pub stream: Option<String>,
    /// Failures of its own so far.
    #[diesel(sql_type = Integer)]
    pub retry: i32,
    /// Whether it had expired when it was claimed.
    #[diesel(sql_type = Bool)]
    pub expired: bool,
}

impl From<Id> for Uuid {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// What becomes of a row that was not sent by its own fault.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is tried again after a pause, and holds up its key until then.
    Retry(Duration),
    /// It is parked and holds up its key until an operator retries or skips it.
    Park,
    /// It is parked, and its key goes on without it.
    PassBy,
    /// It is parked and out of the way, not by a failure of its own: it expired.
    Expire,
}

/// A row that was not sent by its own fault.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Which row.
    pub id: Uuid,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, for `last_error`.
    pub reason: String,
}

/// What a relay does with `published`; not for use by hand.
///
/// Whatever ends a lease names its token, so that a holder whose lease has passed to another
/// changes nothing.
#[doc(hidden)]
pub trait Outbox {
    /// Claims up to `limit` rows that are due, in the order of `seq`, for the time of `lease`.
    fn claim(&mut self, token: Uuid, lease: Duration, limit: usize) -> QueryResult<Vec<Claimed>> {
        self.claim_in(&Scope::default(), token, lease, limit)
    }

    /// Claims as [`claim`](Self::claim) does, of a part of the outbox. Rows of a stream that is
    /// paused are left alone in any case.
    fn claim_in(
        &mut self,
        scope: &Scope,
        token: Uuid,
        lease: Duration,
        limit: usize,
    ) -> QueryResult<Vec<Claimed>>;

    /// Records that the broker has these rows; returns how many were still under the token.
    fn settle_sent(&mut self, token: Uuid, ids: &[Uuid]) -> QueryResult<usize>;

    /// Records failures of the rows' own.
    fn settle_failed(&mut self, token: Uuid, failures: &[Failure]) -> QueryResult<usize>;

    /// Gives rows back, due at once.
    fn release(&mut self, token: Uuid, ids: &[Uuid]) -> QueryResult<usize>;

    /// Gives back whatever is under this token: for a claim whose answer was lost.
    fn release_all(&mut self, token: Uuid) -> QueryResult<usize>;

    /// Puts parked rows back into the queue, with all their attempts; without ids, all of them.
    fn retry_failed(&mut self, ids: &[Uuid]) -> QueryResult<usize>;

    /// Parks rows that wait and that no relay holds, with the reason `cancelled`.
    fn cancel(&mut self, ids: &[Uuid]) -> QueryResult<usize>;

    /// The `seq` of the last row that waits, whether it is due or not.
    fn last_waiting(&mut self) -> QueryResult<Option<i64>>;

    /// Lets the keys of parked rows go on without these rows.
    fn skip_failed(&mut self, ids: &[Uuid]) -> QueryResult<usize>;
}

/// Ids bound in one statement; SQLite takes 32,766.
const IDS_IN_ONE_STATEMENT: usize = 10_000;

fn ids(ids: &[Uuid]) -> impl Iterator<Item = Vec<Id>> {
    ids.chunks(IDS_IN_ONE_STATEMENT)
        .map(|ids| ids.iter().copied().map(Id).collect())
}

fn after(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(pause)
        .ok()
        .and_then(|pause| now.checked_add_signed(pause))
        .unwrap_or_else(never)
}

macro_rules! outbox {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Outbox for $connection {
            fn claim_in(
                &mut self,
                scope: &Scope,
                token: Uuid,
                lease: Duration,
                limit: usize,
            ) -> QueryResult<Vec<Claimed>> {
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let mut rows = self.exclusively(|conn| {
                    let filter = Filter::new(scope, &conn.paused_streams()?);
                    conn.claim_rows(token, lease, limit, &filter)
                })?;
                // RETURNING promises no order.
                rows.sort_unstable_by_key(|row| (row.seq, row.id));
                Ok(rows)
            }

            fn settle_sent(&mut self, token: Uuid, sent: &[Uuid]) -> QueryResult<usize> {
                let mut settled = 0;
                for ids in ids(sent) {
                    settled += diesel::update(published::table)
                        .filter(published::id.eq_any(ids))
                        .filter(published::lease_token.eq(Id(token)))
                        .filter(published::status.ne(SUCCEEDED))
                        .set((
                            published::status.eq(SUCCEEDED),
                            published::sent_at.eq(sql::<schema::Utc>(Self::NOW).nullable()),
                            published::lease_token.eq(None::<Id>),
                            // So that one put back into the queue by hand goes at once.
                            published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                            published::last_error.eq(None::<String>),
                        ))
                        .execute(self)?;
                }
                Ok(settled)
            }

            // Exclusively: what holds up a key may not change in the middle of a claim.
            fn settle_failed(&mut self, token: Uuid, failures: &[Failure]) -> QueryResult<usize> {
                if failures.is_empty() {
                    return Ok(0);
                }
                self.exclusively(|conn| {
                    let now = conn.now()?;
                    let mut settled = 0;
                    for failure in failures {
                        let (status, due_at, attempts) = match failure.verdict {
                            Verdict::Retry(pause) => (SCHEDULE, after(now, pause), 1),
                            Verdict::Park => (FAILED, never(), 1),
                            Verdict::PassBy => (FAILED, now, 1),
                            Verdict::Expire => (FAILED, now, 0),
                        };
                        settled += diesel::update(published::table)
                            .filter(published::id.eq(Id(failure.id)))
                            .filter(published::lease_token.eq(Id(token)))
                            .filter(published::status.ne(SUCCEEDED))
                            .set((
                                published::status.eq(status),
                                published::retry.eq(published::retry + attempts),
                                published::due_at.eq(Moment(due_at)),
                                published::lease_token.eq(None::<Id>),
                                published::last_error.eq(&failure.reason),
                            ))
                            .execute(conn)?;
                    }
                    Ok(settled)
                })
            }

            fn release(&mut self, token: Uuid, released: &[Uuid]) -> QueryResult<usize> {
                if released.is_empty() {
                    return Ok(0);
                }
                self.exclusively(|conn| {
                    let mut settled = 0;
                    for ids in ids(released) {
                        settled += diesel::update(published::table)
                            .filter(published::id.eq_any(ids))
                            .filter(published::lease_token.eq(Id(token)))
                            .filter(published::status.ne(SUCCEEDED))
                            .set((
                                published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                                published::lease_token.eq(None::<Id>),
                            ))
                            .execute(conn)?;
                    }
                    Ok(settled)
                })
            }

            fn release_all(&mut self, token: Uuid) -> QueryResult<usize> {
                self.exclusively(|conn| {
                    diesel::update(published::table)
                        .filter(published::status.eq(SCHEDULE))
                        .filter(published::lease_token.eq(Id(token)))
                        .set((
                            published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                            published::lease_token.eq(None::<Id>),
                        ))
                        .execute(conn)
                })
            }

            fn retry_failed(&mut self, chosen: &[Uuid]) -> QueryResult<usize> {
                let again = (
                    published::status.eq(SCHEDULE),
                    published::retry.eq(0),
                    published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                    published::expires_at.eq(Moment(never())),
                );
                self.exclusively(|conn| {
                    if chosen.is_empty() {
                        return diesel::update(published::table)
                            .filter(published::status.eq(FAILED))
                            .set(again)
                            .execute(conn);
                    }
                    let mut changed = 0;
                    for ids in ids(chosen) {
                        changed += diesel::update(published::table)
                            .filter(published::id.eq_any(ids))
                            .filter(published::status.eq(FAILED))
                            .set(again)
                            .execute(conn)?;
                    }
                    Ok(changed)
                })
            }

            fn cancel(&mut self, chosen: &[Uuid]) -> QueryResult<usize> {
                self.exclusively(|conn| {
                    let now = Moment(conn.now()?);
                    let mut changed = 0;
                    for ids in ids(chosen) {
                        let is_free = published::lease_token
                            .is_null()
                            .or(published::due_at.le(now).nullable());
                        changed += diesel::update(published::table)
                            .filter(published::id.eq_any(ids))
                            .filter(published::status.eq(SCHEDULE))
                            .filter(is_free)
                            .set((
                                published::status.eq(FAILED),
                                // Out of the way of its key.
                                published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                                published::lease_token.eq(None::<Id>),
                                published::last_error.eq("cancelled"),
                            ))
                            .execute(conn)?;
                    }
                    Ok(changed)
                })
            }

            fn last_waiting(&mut self) -> QueryResult<Option<i64>> {
                published::table
                    .filter(published::status.eq(SCHEDULE))
                    .select(published::seq)
                    .order(published::seq.desc())
                    .first(self)
                    .optional()
            }

            fn skip_failed(&mut self, chosen: &[Uuid]) -> QueryResult<usize> {
                self.exclusively(|conn| {
                    let mut changed = 0;
                    for ids in ids(chosen) {
                        changed += diesel::update(published::table)
                            .filter(published::id.eq_any(ids))
                            .filter(published::status.eq(FAILED))
                            .set(published::due_at.eq(Moment(DateTime::UNIX_EPOCH)))
                            .execute(conn)?;
                    }
                    Ok(changed)
                })
            }
        }
    };
}

outbox!("postgres", diesel::PgConnection);
outbox!("mysql", diesel::MysqlConnection);
outbox!("sqlite", diesel::SqliteConnection);
