//! What each database supplies: the contract that a folder of this module implements.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{Connection, QueryResult};
use uuid::Uuid;

use super::claimed::{ClaimResult, Room, RowKey};
use super::last_error::LastError;
use super::lifecycle::LifecycleTable;
use super::new_call_row::NewCallRow;
use super::new_row::NewPublished;
use super::rights::{FoundTable, Grantee, Needed};
use super::schemas::{Found, Tables};
use super::scope::Filter;
use super::server::{TooOld, Unsuitable};
use super::watch::Listened;

/// The statements and properties of one database; not for use by hand.
///
/// In the texts `{table}` is the table of a [`LifecycleTable`] and `{settled_at}` its column for the
/// time at which a row succeeded.
#[doc(hidden)]
pub trait Dialect: Connection + Sized {
    /// An SQL expression for the current time. It advances within a transaction.
    const NOW: &'static str;
    /// 1970-01-01 as an SQL literal of the type of `due_at`.
    const EPOCH: &'static str;
    /// 9000-01-01 as an SQL literal of the type of `due_at`.
    const NEVER: &'static str;
    /// An SQL expression for the server's version, if there is a server.
    const VERSION: Option<&'static str> = Some("version()");
    /// An SQL expression for the number of the server's session, as a bigint, if there are poolers
    /// that change it between transactions.
    const SESSION: Option<&'static str> = None;

    /// Whether ids are stored as text, so that one UUID may have several spellings. If so, `seq`
    /// identifies a row, otherwise `id` does: on PostgreSQL `seq` is not unique.
    const HAS_TEXT_IDS: bool = true;
    /// The columns that identify a row: `seq`, and `id` as text if the id identifies it.
    const ROW_KEY: &'static str = "seq, '' as id";

    /// Makes a statement use the index `NAME_held` of a table, after the table's name.
    const BY_HELD: &'static str = "";
    /// The same for the index of the waiting rows in the order of `seq`.
    const BY_WAITING: &'static str = "";
    /// The same for the index of the parked rows in the order of `seq`.
    const BY_PARKED: &'static str = "";
    /// The same for rows that were sent or executed, by the time of writing.
    const BY_SETTLED: &'static str = "";

    /// Makes a statement use the index on `seq` of a table, after the table's name. MySQL would lock the rows that it
    /// reads on another way.
    const BY_SEQ: &'static str = "";

    /// Locks the rows that a SELECT reads until the transaction ends.
    const FOR_UPDATE: &'static str = " for update";

    /// The column `key` as it is written in a statement.
    const KEY: &'static str = "key";

    /// Begins the transaction in which a message is handled, with a savepoint inside.
    const BEGIN_INBOX: &'static str = "begin; savepoint outbox_inbox";
    /// Ends a transaction that Diesel does not know of.
    const ROLL_BACK_INBOX: &'static str = "rollback";
    /// Whether to look for the inbox's row before COMMIT: COMMIT does not fail after a failed statement.
    const COMMITS_AFTER_FAILURE: bool = true;
    /// A statement that fails if the server has aborted the open transaction; `None` if it never does.
    const CHECK_TRANSACTION: Option<&'static str> = None;

    /// Inserts a job's row with a time and a name, unless it exists.
    const INSERT_JOB: &'static str =
        "insert into outbox_jobs (begun, name) values ($1, $2) on conflict (name) do nothing";
    /// Sets a job's time, by its name, unless it is later than a third value.
    const BEGIN_JOB: &'static str =
        "update outbox_jobs set begun = $1 where name = $2 and begun <= $3";
    /// Inserts or updates a stream's row with its name and whether it is paused.
    const PAUSE_STREAM: &'static str = "\
        insert into outbox_streams (name, paused) values ($1, $2)
        on conflict (name) do update set paused = excluded.paused";
    /// Inserts a stream's row with its name, unless it exists.
    const INSERT_STREAM: &'static str =
        "insert into outbox_streams (name) values ($1) on conflict (name) do nothing";
    /// Counts a delivery of a message's id to a consumer.
    const COUNT_DELIVERY: &'static str = "\
        insert into outbox_deliveries (msg_id, consumer, begun) values ($1, $2, 1)
        on conflict (msg_id, consumer) do update
            set begun = outbox_deliveries.begun + 1, last_begun = excluded.last_begun";
    /// Deletes up to a third value of rows of `{table}` that succeeded up to a time. The time is bound
    /// twice: a row succeeds after it is written, and the index is on the time of writing. A row that
    /// Django has sent has no other time.
    const DELETE_SETTLED: &'static str;
    /// Deletes received rows up to a time, up to a second value of them.
    const DELETE_RECEIVED: &'static str;
    /// Deletes counted deliveries up to a time, up to a second value of them.
    const DELETE_DELIVERIES: &'static str;

    /// How long to wait between two calls of [`has_news`](Self::has_news).
    const WATCH_INTERVAL: Duration;
    /// What the last call of [`has_news`](Self::has_news) found.
    type Seen: Default;

    /// Whether the database's JSON cannot hold U+0000.
    fn refuses_nul(&self) -> bool {
        false
    }

    /// Whether the server may change JSON numbers with a fraction or an exponent that a double cannot be
    /// computed from exactly.
    fn rounds_json(&mut self) -> QueryResult<bool> {
        Ok(false)
    }

    /// Whether the server closes the connection if a statement is too long.
    fn limits_statements(&self) -> bool {
        false
    }

    /// The maximum length of a statement and its values together, in bytes.
    fn longest_statement(&mut self) -> QueryResult<usize> {
        Ok(usize::MAX)
    }

    /// The session's last error, if the server keeps it; call it before any other statement.
    fn last_error(&mut self) -> Option<LastError> {
        None
    }

    /// Fails if this server's version is too old. A version that cannot be read is accepted.
    fn check_version(_version: &str) -> Result<(), TooOld> {
        Ok(())
    }

    /// Why a connection that was opened at this URL must not be used.
    fn why_unusable(&mut self, _url: &str) -> QueryResult<Option<&'static str>> {
        Ok(None)
    }

    /// Prepares a new connection for defects of the client library. `is_ours` is false if a service has opened it.
    fn avoid_client_defects(&mut self, _is_ours: bool) -> QueryResult<()> {
        Ok(())
    }

    /// Why no rows can be claimed on this server with its settings.
    fn why_no_claims(&mut self) -> QueryResult<Option<Unsuitable>> {
        Ok(None)
    }

    /// Finds the schema of this name, or without one the first of the search path that has a table
    /// `published` or in which the user may create tables.
    fn find_schema(&mut self, _named: Option<&str>) -> QueryResult<Found> {
        Ok(Found::default())
    }

    /// Why the tables of the outbox in that schema could not be read, with this error.
    fn why_no_tables(
        &mut self,
        named: Option<&str>,
        error: &diesel::result::Error,
    ) -> QueryResult<Tables>;

    /// The rights that claims need besides those on the rows.
    const CLAIM_RIGHTS: &'static [Needed] = &[];

    /// Those of the tables that exist, with those of the rights that the user lacks.
    fn find_rights(&mut self, _needed: &[Needed]) -> QueryResult<Vec<FoundTable>> {
        Ok(Vec::new())
    }

    /// The user and the place of the tables, for a GRANT.
    fn grantee(&mut self) -> QueryResult<Grantee> {
        Ok(Grantee::default())
    }

    /// SQL on our tables that means the named schema, for running outside of this crate.
    fn in_named_schema(sql: &str) -> Cow<'_, str> {
        Cow::Borrowed(sql)
    }

    /// The current time by the database's clock.
    fn now(&mut self) -> QueryResult<DateTime<Utc>>;

    /// A time as an SQL literal of the type of `due_at`.
    fn time_literal(time: DateTime<Utc>) -> String {
        format!("'{}'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
    }

    /// A text as an SQL expression that needs no quotes, whatever the session's settings are.
    fn text_literal(text: &str) -> String;

    /// A text without U+0000 as an SQL expression that is compared with ids; `None` if no id can be this text.
    fn id_literal(id: &str) -> Option<String> {
        Some(Self::text_literal(id))
    }

    /// An SQL expression for a column with JSON or an id as text.
    fn as_text(column: &str) -> String {
        column.to_owned()
    }

    /// A condition that is true if a text contains another one, in the same case.
    fn contains(text: &str, part: &str) -> String {
        format!("instr({text}, {part}) > 0")
    }

    /// An SQL expression for JSON in which a member of the object at the top has this text as its value, both as
    /// SQL expressions. What has no such member stays as it is.
    fn json_with(json: &str, member: &str, text: &str) -> String;
    /// A condition that is true if a row `w` of a list of waiting rows is due and blocked by an earlier one of its
    /// key, which is its `row_key`; and what is joined to the list for that, which looks up each key once. `now` is an
    /// SQL literal.
    fn blocked(now: &str) -> (String, String) {
        let blocking = format!(
            "left join (
                select k.row_key, (
                    select min(e.seq) from {{table}} e
                    where e.key = k.row_key and e.status <> 2 and e.due_at > {now}) as seq
                from (select distinct row_key from w where is_due and row_key is not null) k
            ) blocking on blocking.row_key = w.row_key"
        );
        let is_blocked = "(w.is_due and blocking.seq is not null and blocking.seq < w.seq)";
        (is_blocked.to_owned(), blocking)
    }

    /// A message's id as a text that the database distinguishes from all others.
    fn distinct_id(id: &str) -> Cow<'_, str> {
        Cow::Borrowed(id)
    }

    /// Runs work in a new transaction.
    fn in_transaction<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<diesel::result::Error>,
    {
        self.transaction(work)
    }

    /// Writes a row unless its id exists. Returns whether it was written. The transaction stays usable
    /// in either case.
    fn insert_if_new(&mut self, row: &NewPublished) -> QueryResult<bool>;

    /// The same for a call.
    fn insert_call_if_new(&mut self, row: &NewCallRow) -> QueryResult<bool>;

    /// Leases up to `room.rows` rows that are due, not blocked and accepted by the filter, and reads
    /// them, with as many bodies as there is room for. A row that the filter excludes blocks its key
    /// as a leased row does. If a rule gives a row its key, the key is written to the row.
    ///
    /// Claims are made one after another, under a lock that a stalled client cannot keep: the server
    /// receives the whole transaction at once, and bodies are read after its commit. A row that
    /// another session has locked is left out and returned as locked.
    fn lease_rows(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        lease: Duration,
        room: Room,
        filter: &Filter,
    ) -> QueryResult<ClaimResult>;

    /// Waits until no claim is in progress.
    fn await_claims(&mut self, table: LifecycleTable) -> QueryResult<()>;

    /// Applies changes (`column = value, …`) to the rows that are under this token, except those that
    /// another session has locked. Returns the number of changed rows.
    fn change_leased(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
        changes: Changes,
    ) -> QueryResult<usize>;

    /// A condition that is true for exactly these rows.
    fn among(rows: &[RowKey]) -> String {
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        format!("seq in ({})", super::scope::numbers(&seqs))
    }

    /// Returns those of the rows that no other session has locked.
    fn not_locked(&mut self, _table: LifecycleTable, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
        Ok(rows.to_vec())
    }

    /// A statement that gives this session its present settings back, as far as this crate changes them.
    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn session_settings(&mut self) -> QueryResult<String>;

    /// Whether the server takes no writes, as after a failover.
    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn is_read_only(&mut self) -> QueryResult<bool> {
        Ok(false)
    }

    /// Limits how long this session's statements wait for a lock.
    fn wait_for_locks(&mut self, limit: Duration) -> QueryResult<()>;

    /// Prepares a connection for [`has_news`](Self::has_news).
    fn begin_watch(&mut self) -> QueryResult<()> {
        Ok(())
    }

    /// Wakes the relays and executors that wait, if the database sends notifications: when the transaction
    /// commits, or at once if there is none. Writes do this by themselves.
    fn notify(&mut self) -> QueryResult<()> {
        Ok(())
    }

    /// Whether something may have been written to the outbox since the last call. Cheap.
    fn has_news(&mut self, seen: &mut Self::Seen) -> QueryResult<bool>;

    /// Waits for the database's notifications on a separate connection and calls `wake` for each
    /// that may concern the outbox of `schema`, until `is_over` returns true.
    fn listen(
        _url: &str,
        _schema: Option<&str>,
        _wake: &dyn Fn(),
        _is_over: &dyn Fn() -> bool,
    ) -> Listened {
        Listened::Unsupported
    }
}

/// Changes to a row as SQL: `column = value, …`.
#[doc(hidden)]
#[derive(Debug)]
pub struct Changes {
    pub(super) sql: String,
    /// Whether many statements have this text, so that keeping them prepared is worthwhile.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) is_frequent: bool,
}

/// Inserts a row with `on conflict do nothing`, and returns whether it was written: a violation that is caught
/// would end the caller's transaction on PostgreSQL.
#[allow(unused_macros)] // MySQL has no `on conflict`
macro_rules! insert_on_conflict {
    ($conn:expr, $table:ident, $row:expr) => {{
        use crate::schema::$table;

        diesel::insert_into($table::table)
            .values($row)
            .on_conflict($table::id)
            .do_nothing()
            .execute($conn)
            .map(|written| written > 0)
    }};
}
#[allow(unused_imports)]
pub(super) use insert_on_conflict;

/// A digest in place of an id that its column cannot hold.
#[cfg(any(feature = "subscriber", feature = "mysql"))]
pub(crate) fn digest(id: &str) -> String {
    use sha2::{Digest, Sha256};

    let digest = Sha256::digest(id.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}
