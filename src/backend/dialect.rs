//! What each database says in words of its own.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::claimed::{Leased, LockedRow, Room, RowKey};
use super::scope::Filter;
use crate::db::LastError;

/// The few statements that differ from one database to the next.
pub(super) trait Dialect: Sized {
    /// An SQL expression for the present moment; it moves on within a transaction.
    const NOW: &'static str;

    /// An SQL expression for the server's version, where there is a server.
    const VERSION: Option<&'static str> = Some("version()");
    /// Writes a job's row with a moment and a name, where it is not there.
    const INSERT_JOB: &'static str;
    /// Sets a job's moment, by its name, where it is not later than a third value.
    const BEGIN_JOB: &'static str;
    /// Writes a stream's row with its name and whether it is paused, or changes it.
    const PAUSE_STREAM: &'static str;
    /// Writes a stream's row with its name, where it is not there.
    const INSERT_STREAM: &'static str;
    /// Deletes sent rows up to a moment, so many at most.
    const DELETE_PUBLISHED: &'static str;
    /// Deletes received rows up to a moment, so many at most.
    const DELETE_RECEIVED: &'static str;
    /// Deletes counted deliveries up to a moment, so many at most.
    const DELETE_DELIVERIES: &'static str;
    /// Counts a delivery of a message's id to a consumer.
    const BEGIN_AGAIN: &'static str;
    /// Whether the server closes the connection for a statement that is too long.
    const LIMITS_STATEMENTS: bool = false;

    /// The present moment by the database's clock.
    fn now(&mut self) -> QueryResult<DateTime<Utc>>;

    /// Leases up to `room.rows` rows that are due, not blocked and let through by the filter, and
    /// reads them, with as many bodies as there is room for. A row that the filter keeps back holds
    /// up its key as one under a lease does. A row that gets its key by a rule is written with it.
    ///
    /// Claims are made one after another, under a lock that the client cannot keep: the server has
    /// all of the transaction at once, and bodies are read after its commit. A row that another
    /// session has locked is left out, and returned as such.
    fn lease_rows(
        &mut self,
        token: Uuid,
        lease: Duration,
        room: Room,
        filter: &Filter,
    ) -> QueryResult<(Vec<Leased>, Vec<LockedRow>)>;

    /// Waits until no claim is being made.
    fn await_claims(&mut self) -> QueryResult<()>;

    /// Records the delivery results of rows under this token, but not of rows that another session has
    /// locked. Returns how many were recorded.
    fn settle(&mut self, token: Uuid, rows: &[RowKey], end: &End<'_>) -> QueryResult<usize>;

    /// Those of the rows that no other session has locked.
    fn lockable(&mut self, rows: &[RowKey]) -> QueryResult<Vec<RowKey>>;

    /// Limits how long the session's statements wait for a lock.
    fn limit_lock_waits(&mut self, limit: Duration) -> QueryResult<()>;

    /// The `seq` of rows of this status whose id is this UUID in a spelling that no index finds.
    /// Reads all rows of the status.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    fn spelled_otherwise(&mut self, status: i32, id: Uuid) -> QueryResult<Vec<i64>>;

    /// How many bytes a statement and its values may take together.
    fn longest_statement(&mut self) -> QueryResult<usize> {
        Ok(usize::MAX)
    }

    /// The session's last error, if the server keeps it; to be asked before any other statement.
    fn last_error(&mut self) -> Option<LastError> {
        None
    }

    /// A message's id as a text that the database tells from all others.
    fn told_apart(id: &str) -> Cow<'_, str> {
        Cow::Borrowed(id)
    }
}

/// What becomes of a row at the end of its lease.
#[derive(Debug)]
pub(super) enum End<'a> {
    /// The broker has it.
    Sent,
    /// It is given back, due at once.
    Released,
    /// It failed.
    Failed {
        status: i32,
        /// How many more failures it has.
        attempts: i32,
        due_at: DateTime<Utc>,
        reason: &'a str,
    },
}

/// What stands for an id that its column cannot hold as it is.
pub(crate) fn digest(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// PostgreSQL and SQLite both take `$1` where parameters first appear in their order.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) mod standard {
    pub(in crate::backend) const INSERT_JOB: &str =
        "insert into outbox_jobs (begun, name) values ($1, $2) on conflict (name) do nothing";
    pub(in crate::backend) const BEGIN_JOB: &str =
        "update outbox_jobs set begun = $1 where name = $2 and begun <= $3";
    pub(in crate::backend) const PAUSE_STREAM: &str = "\
        insert into outbox_streams (name, paused) values ($1, $2)
        on conflict (name) do update set paused = excluded.paused";
    pub(in crate::backend) const INSERT_STREAM: &str =
        "insert into outbox_streams (name) values ($1) on conflict (name) do nothing";
    #[cfg(feature = "sqlite")]
    pub(in crate::backend) const DELETE_PUBLISHED: &str = "\
        delete from published where seq in (
            select seq from published where status = 2 and added <= $1 order by added limit $2)";
    #[cfg(feature = "sqlite")]
    pub(in crate::backend) const DELETE_RECEIVED: &str = "\
        delete from received where id in (
            select id from received where added <= $1 order by added limit $2)";
    #[cfg(feature = "sqlite")]
    pub(in crate::backend) const DELETE_DELIVERIES: &str = "\
        delete from outbox_deliveries where (msg_id, consumer) in (
            select msg_id, consumer from outbox_deliveries where last_begun <= $1 limit $2)";
    pub(in crate::backend) const BEGIN_AGAIN: &str = "\
        insert into outbox_deliveries (msg_id, consumer, begun) values ($1, $2, 1)
        on conflict (msg_id, consumer) do update
            set begun = outbox_deliveries.begun + 1, last_begun = excluded.last_begun";
}
