//! The lifecycle of rows with leases: they are claimed, then settled or released; an operator
//! retries, cancels and skips them.

mod action;
mod backlog;
mod cursor;
mod execution;
mod failure;
mod filter;
mod listed;
mod listing;
mod selection;
mod statements;
mod table;

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use uuid::Uuid;

use super::claimed::{Claim, Claimed, Room, RowKey};
use super::row_state::RowState;
use super::scope::Scope;

pub use action::Action;
pub use backlog::{
    Backlog, COUNT_LIMIT, CountedName, LeasedRows, ParkedRows, UnclaimedRows, WaitingRows,
    WrittenRows,
};
pub use cursor::{Cursor, CursorError};
pub use execution::Execution;
pub use failure::{Failure, FailureAction};
pub use filter::Filter;
pub(in crate::backend) use filter::{ages, literal};
pub use listed::{Row, RowDetails};
pub use listing::Listing;
pub use selection::{Selected, Selection};
pub use table::{CALLS, LifecycleTable, PUBLISHED};

pub(in crate::backend) const PARKED: i32 = -1;
pub(in crate::backend) const WAITING: i32 = 1;
pub(crate) const SUCCEEDED: i32 = 2;

/// The lifecycle of the rows of a table; not for use by hand.
///
/// Each statement that ends a lease names its token, so that a relay whose lease has passed to another
/// changes nothing.
#[doc(hidden)]
pub trait Lifecycle {
    /// Claims up to `limit` rows that are due, in the order of `seq`, for the time of `lease`.
    fn claim(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        lease: Duration,
        limit: usize,
    ) -> QueryResult<Vec<Claimed>> {
        self.claim_in(table, &Scope::default(), token, lease, limit)
    }

    /// Claims a part of the table, as [`claim`](Self::claim) does.
    fn claim_in(
        &mut self,
        table: LifecycleTable,
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
        Ok(self.take(table, scope, token, lease, room)?.rows)
    }

    /// Claims as [`claim_in`](Self::claim_in) does, limited to the room. Rows of a
    /// paused stream are never claimed.
    fn take(
        &mut self,
        table: LifecycleTable,
        scope: &Scope,
        token: Uuid,
        lease: Duration,
        room: Room,
    ) -> QueryResult<Claim>;

    /// Records that rows succeeded. Returns how many were still under the token and not locked by
    /// another session.
    fn settle_sent(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
    ) -> QueryResult<usize>;

    /// Records failed attempts of rows; returns the same as [`settle_sent`](Self::settle_sent).
    fn settle_failed(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        failures: &[Failure],
    ) -> QueryResult<usize>;

    /// Releases rows, which are due at once; returns the same as [`settle_sent`](Self::settle_sent).
    fn release(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
    ) -> QueryResult<usize>;

    /// Releases all rows under this token, except those that another session has locked: for a
    /// claim whose result was lost.
    fn release_all(&mut self, table: LifecycleTable, token: Uuid) -> QueryResult<usize>;

    /// Returns those of the rows that are still under the token.
    fn under(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
    ) -> QueryResult<Vec<RowKey>>;

    /// Changes the rows with these ids, which may be in any spelling, if their state allows it.
    fn act<I: ToString>(
        &mut self,
        table: LifecycleTable,
        action: Action,
        ids: &[I],
    ) -> QueryResult<usize>;

    /// Makes parked rows wait again with all their attempts; without ids, all parked rows. Ids may
    /// be in any spelling, as in [`cancel`](Self::cancel) and [`skip`](Self::skip).
    fn retry<I: ToString>(&mut self, table: LifecycleTable, ids: &[I]) -> QueryResult<usize>;

    /// Parks rows that wait and are not leased, with the reason `cancelled`, and wakes who waits for rows: a delayed
    /// row blocks the later rows of its key.
    fn cancel<I: ToString>(&mut self, table: LifecycleTable, ids: &[I]) -> QueryResult<usize>;

    /// Lets the keys of parked rows continue without these rows.
    fn skip<I: ToString>(&mut self, table: LifecycleTable, ids: &[I]) -> QueryResult<usize> {
        self.act(table, Action::Skip, ids)
    }

    /// Returns the state of the row with this id, in any spelling; `None` if there is no such row.
    fn state(&mut self, table: LifecycleTable, id: &str) -> QueryResult<Option<RowState>>;

    /// Returns the `seq` of the last row that waits, whether it is due or not.
    fn last_waiting(&mut self, table: LifecycleTable) -> QueryResult<Option<i64>>;

    /// Counts the rows that wait, at a cost that does not grow with those that succeeded. Also returns
    /// when the oldest of them was written.
    fn waiting(&mut self, table: LifecycleTable) -> QueryResult<(i64, Option<DateTime<Utc>>)>;

    /// Counts the rows that are due and wait, up to this `seq`: those of these streams and targets
    /// (all, if there are none), without those of paused streams.
    fn left(
        &mut self,
        table: LifecycleTable,
        streams: &[String],
        targets: &[String],
        last: i64,
    ) -> QueryResult<i64>;

    /// Counts the rows in each state by reading all of them.
    fn count(&mut self, table: LifecycleTable) -> QueryResult<RowCounts>;

    /// Deletes up to `batch` rows that succeeded up to a time.
    fn delete_settled(
        &mut self,
        table: LifecycleTable,
        time: DateTime<Utc>,
        batch: i64,
    ) -> QueryResult<usize>;
}

/// The rows of a table in each state.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    /// Rows that wait: due, leased, delayed or pausing after a failure.
    pub waiting: i64,
    /// The waiting rows that are not due yet: leased, delayed, or pausing after a failure.
    pub not_due: i64,
    /// Rows that are parked.
    pub parked: i64,
    /// Rows that succeeded and were not deleted yet.
    pub succeeded: i64,
    /// When the oldest waiting row was written.
    pub oldest_waiting: Option<DateTime<Utc>>,
}
