//! What each database says in words of its own.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use uuid::Uuid;

use super::Claimed;

/// The few statements that differ from one database to the next.
pub(super) trait Dialect {
    /// An SQL expression for the present moment; it moves on within a transaction.
    const NOW: &'static str;

    /// The present moment by the database's clock.
    fn now(&mut self) -> QueryResult<DateTime<Utc>>;

    /// Waits until no other relay claims, and keeps others from it for the rest of the
    /// transaction. Where a transaction writes alone anyway there is nothing to do.
    fn lock_claims(&mut self) -> QueryResult<()>;

    /// Claims up to `limit` rows that are due and not held up, the oldest first. Runs in a
    /// transaction that holds the lock of claims.
    fn claim_rows(&mut self, token: Uuid, lease: Duration, limit: i64)
    -> QueryResult<Vec<Claimed>>;
}
