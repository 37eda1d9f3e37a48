//! The outbox as a relay sees it: rows are claimed under a lease, then settled or given back.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
#[cfg(any(feature = "mysql", feature = "sqlite"))]
use diesel::dsl::sql;
use diesel::prelude::*;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
use diesel::sql_types::Text;
use uuid::Uuid;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
use super::Storage;
use super::claimed::{self, Claim, Claimed, Room, RowKey};
use super::dialect::{Dialect, End};
use super::qualify::RunQueryDsl;
use super::scope::{Filter, Scope};
use super::upkeep::Upkeep;
use super::{names, never};
use crate::schema::{Id, Moment, published};

pub(super) const FAILED: i32 = -1;
pub(super) const SCHEDULE: i32 = 1;
pub(crate) const SUCCEEDED: i32 = 2;

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
    pub row: RowKey,
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

    /// Claims as [`claim`](Self::claim) does, of a part of the outbox.
    fn claim_in(
        &mut self,
        scope: &Scope,
        token: Uuid,
        lease: Duration,
        limit: usize,
    ) -> QueryResult<Vec<Claimed>> {
        let room = Room {
            rows: limit,
            bytes: i32::MAX as usize,
            largest: i32::MAX as usize,
            any_first: true,
        };
        Ok(self.take(scope, token, lease, room)?.rows)
    }

    /// Claims as [`claim_in`](Self::claim_in) does, as many rows as there is room for. Rows of a
    /// stream that is paused are left alone in any case.
    fn take(
        &mut self,
        scope: &Scope,
        token: Uuid,
        lease: Duration,
        room: Room,
    ) -> QueryResult<Claim>;

    /// Records that the broker has these rows; returns how many were still under the token, and
    /// not locked by another session.
    fn settle_sent(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<usize>;

    /// Records failures of the rows' own; returns as [`settle_sent`](Self::settle_sent).
    fn settle_failed(&mut self, token: Uuid, failures: &[Failure]) -> QueryResult<usize>;

    /// Gives rows back, due at once; returns as [`settle_sent`](Self::settle_sent).
    fn release(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<usize>;

    /// Gives back whatever is under this token, but for what another session has locked: for a
    /// claim whose answer was lost.
    fn release_all(&mut self, token: Uuid) -> QueryResult<usize>;

    /// Those of the rows that are still under the token.
    fn under(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<Vec<RowKey>>;

    /// Those of the rows that no other session has locked.
    fn not_locked(&mut self, rows: &[RowKey]) -> QueryResult<Vec<RowKey>>;

    /// Limits how long this session's statements wait for a lock.
    fn wait_for_locks(&mut self, limit: Duration) -> QueryResult<()>;

    /// Puts parked rows back into the queue, with all their attempts; without ids, all of them.
    /// Ids may be in any spelling, as in [`cancel`](Self::cancel) and
    /// [`skip_failed`](Self::skip_failed).
    fn retry_failed<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize>;

    /// Parks rows that wait and that no relay holds, with the reason `cancelled`.
    fn cancel<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize>;

    /// Lets the keys of parked rows go on without these rows.
    fn skip_failed<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize>;

    /// The `seq` of the last row that waits, whether it is due or not.
    fn last_waiting(&mut self) -> QueryResult<Option<i64>>;
}

/// Rows in one statement; SQLite takes 32,766 values.
const ROWS_IN_ONE_STATEMENT: usize = 10_000;

fn after(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(pause)
        .ok()
        .and_then(|pause| now.checked_add_signed(pause))
        .unwrap_or_else(never)
}

/// Changes the rows of these ids, in one transaction.
macro_rules! change_named {
    ($conn:ident, "postgres", $ids:ident, $status:expr, |$rows:ident| $change:expr) => {{
        let ids: Vec<String> = $ids.iter().map(ToString::to_string).collect();
        let uuids: Vec<Id> = ids
            .iter()
            .filter_map(|id| names::uuid(id))
            .map(Id)
            .collect();
        let $rows = diesel::update(published::table)
            .filter(published::id.eq_any(uuids))
            .filter(published::status.eq($status));
        $change.execute($conn)
    }};
    ($conn:ident, $feature:tt, $ids:ident, $status:expr, |$rows:ident| $change:expr) => {{
        $conn.atomically(|conn| {
            let mut changed = 0;
            for id in $ids {
                let id = id.to_string();
                // By one key at a time: in a transaction of the user's MySQL may lock all that a
                // statement looks at.
                if let Some(uuid) = names::uuid(&id) {
                    let $rows = diesel::update(published::table)
                        .filter(published::id.eq(Id(uuid)))
                        .filter(published::status.eq($status));
                    let found = $change.execute(conn)?;
                    changed += found;
                    if found > 0 {
                        continue;
                    }
                }
                let mut seqs: Vec<i64> = published::table
                    .filter(sql::<Text>("id").eq_any(names::spellings(&id)))
                    .select(published::seq)
                    .load(conn)?;
                if let Some(uuid) = names::uuid(&id).filter(|_| seqs.is_empty()) {
                    seqs = conn.spelled_otherwise($status, uuid)?;
                }
                for seq in seqs {
                    let $rows = diesel::update(published::table)
                        .filter(published::seq.eq(seq))
                        .filter(published::status.eq($status));
                    changed += $change.execute(conn)?;
                }
            }
            Ok(changed)
        })
    }};
}

macro_rules! outbox {
    (
        $feature:tt, $connection:ty, $column:ident: $type:ty,
        of $row:ident = $value:expr, as $found:ident = $key:expr
    ) => {
        #[cfg(feature = $feature)]
        impl Outbox for $connection {
            fn take(
                &mut self,
                scope: &Scope,
                token: Uuid,
                lease: Duration,
                room: Room,
            ) -> QueryResult<Claim> {
                let filter = Filter::new(scope, &self.paused_streams()?);
                let (leased, locked) = self.lease_rows(token, lease, room, &filter)?;
                let (mut claim, back) = claimed::sort(leased, locked, room);
                claim.kept = back.len().saturating_sub(self.release(token, &back)?);
                Ok(claim)
            }

            fn settle_sent(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<usize> {
                let mut settled = 0;
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    settled += self.settle(token, rows, &End::Sent)?;
                }
                Ok(settled)
            }

            // Not under the lock of claims: a row that a claim has found, and cannot have since it
            // failed meanwhile, holds up its key, unless its failure lets the key go on.
            fn settle_failed(&mut self, token: Uuid, failures: &[Failure]) -> QueryResult<usize> {
                if failures.is_empty() {
                    return Ok(0);
                }
                let now = self.now()?;
                let mut settled = 0;
                for failure in failures {
                    let (status, due_at, attempts) = match failure.verdict {
                        Verdict::Retry(pause) => (SCHEDULE, after(now, pause), 1),
                        Verdict::Park => (FAILED, never(), 1),
                        Verdict::PassBy => (FAILED, now, 1),
                        Verdict::Expire => (FAILED, now, 0),
                    };
                    let end = End::Failed {
                        status,
                        attempts,
                        due_at,
                        reason: &failure.reason,
                    };
                    settled += self.settle(token, &[failure.row], &end)?;
                }
                Ok(settled)
            }

            fn release(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<usize> {
                let mut settled = 0;
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    settled += self.settle(token, rows, &End::Released)?;
                }
                Ok(settled)
            }

            fn release_all(&mut self, token: Uuid) -> QueryResult<usize> {
                // The claim may be under way yet.
                self.await_claims()?;
                let rows: Vec<$type> = published::table
                    .filter(published::status.eq(SCHEDULE))
                    .filter(published::lease_token.eq(Id(token)))
                    .select(published::$column)
                    .load(self)?;
                let rows: Vec<RowKey> = rows.into_iter().map(|$found| $key).collect();
                self.release(token, &rows)
            }

            fn under(&mut self, token: Uuid, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
                let mut found: HashSet<$type> = HashSet::new();
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    let values: Vec<_> = rows.iter().map(|$row| $value).collect();
                    let ours: Vec<$type> = published::table
                        .filter(published::$column.eq_any(values))
                        .filter(published::lease_token.eq(Id(token)))
                        .filter(published::status.ne(SUCCEEDED))
                        .select(published::$column)
                        .load(self)?;
                    found.extend(ours);
                }
                let rows = rows.iter().filter(|$row| found.contains(&$value));
                Ok(rows.copied().collect())
            }

            fn not_locked(&mut self, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
                self.lockable(rows)
            }

            fn wait_for_locks(&mut self, limit: Duration) -> QueryResult<()> {
                self.limit_lock_waits(limit)
            }

            fn retry_failed<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize> {
                let again = (
                    published::status.eq(SCHEDULE),
                    published::retry.eq(0),
                    published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                    published::expires_at.eq(Moment(never())),
                );
                if ids.is_empty() {
                    return diesel::update(published::table)
                        .filter(published::status.eq(FAILED))
                        .set(again)
                        .execute(self);
                }
                change_named!(self, $feature, ids, FAILED, |rows| rows.set(again))
            }

            fn cancel<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize> {
                let now = Moment(self.now()?);
                change_named!(self, $feature, ids, SCHEDULE, |rows| rows
                    .filter(
                        published::lease_token
                            .is_null()
                            .or(published::due_at.le(now).nullable())
                    )
                    .set((
                        published::status.eq(FAILED),
                        // Out of the way of its key.
                        published::due_at.eq(Moment(DateTime::UNIX_EPOCH)),
                        published::lease_token.eq(None::<Id>),
                        published::last_error.eq("cancelled"),
                    )))
            }

            fn skip_failed<I: ToString>(&mut self, ids: &[I]) -> QueryResult<usize> {
                change_named!(self, $feature, ids, FAILED, |rows| rows
                    .set(published::due_at.eq(Moment(DateTime::UNIX_EPOCH))))
            }

            fn last_waiting(&mut self) -> QueryResult<Option<i64>> {
                published::table
                    .filter(published::status.eq(SCHEDULE))
                    .select(published::seq)
                    .order(published::seq.desc())
                    .first(self)
                    .optional()
            }
        }
    };
}

outbox!("postgres", diesel::PgConnection, id: Id,
    of row = Id(row.id), as id = RowKey { seq: 0, id: id.0 });
outbox!("mysql", diesel::MysqlConnection, seq: i64,
    of row = row.seq, as seq = RowKey { seq, id: Uuid::nil() });
outbox!("sqlite", diesel::SqliteConnection, seq: i64,
    of row = row.seq, as seq = RowKey { seq, id: Uuid::nil() });
