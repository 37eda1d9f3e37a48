//! MySQL and MariaDB.

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod address;
mod claim;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod client_library;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod fault;
pub(crate) mod insert_id;
#[cfg(feature = "cli")]
mod inspection;
mod migrate;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod refusals;
mod rights;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod session;
mod settle;
mod types;

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::result::Error::DatabaseError;
use diesel::sql_types::{BigInt, Nullable, Text, Unsigned};
use uuid::Uuid;

use super::claimed::{ClaimResult, Room, RowKey};
use super::dialect::{Changes, Dialect, digest};
use super::last_error::LastError;
use super::lifecycle::{COUNT_LIMIT, LifecycleTable};
use super::maintenance::Maintenance;
use super::new_call_row::NewCallRow;
use super::new_row::NewPublished;
use super::qualify::{RunQueryDsl, unqualified};
use super::rights::{FoundTable, Grantee, Needed};
use super::schemas::Tables;
use super::scope::Filter;
use super::server::{self, Feature, TooOld, Unsuitable};
use crate::schema::{self, Moment, outbox_calls, published};

unqualified!(MysqlConnection);

/// MySQL 8.0 Reference Manual, "SELECT", "Window Function Concepts", "JSON Table Functions" and "Data Type Default
/// Values". Claims, settling and cleaning use the first three, and the tables the last one.
const MYSQL: [Feature; 4] = [
    Feature {
        name: "SKIP LOCKED",
        since: &[8, 0, 1],
    },
    Feature {
        name: "window functions",
        since: &[8, 0, 2],
    },
    Feature {
        name: "JSON_TABLE",
        since: &[8, 0, 4],
    },
    Feature {
        name: "expressions as defaults of columns",
        since: &[8, 0, 13],
    },
];

/// MariaDB documentation, "SELECT" and "JSON_TABLE".
const MARIADB: [Feature; 2] = [
    Feature {
        name: "SKIP LOCKED",
        since: &[10, 6],
    },
    Feature {
        name: "JSON_TABLE",
        since: &[10, 6],
    },
];

impl Dialect for MysqlConnection {
    const NOW: &'static str = "utc_timestamp(6)";
    const EPOCH: &'static str = "'1970-01-01 00:00:00'";
    const NEVER: &'static str = "'9000-01-01 00:00:00'";
    const BY_HELD: &'static str = "force index ({table}_held)";
    const BY_SEQ: &'static str = "force index ({table}_seq)";
    const BY_WAITING: &'static str = "force index ({table}_waiting)";
    const BY_PARKED: &'static str = Self::BY_WAITING;
    const BY_SETTLED: &'static str = "force index ({table}_settled)";
    const KEY: &'static str = "`key`";
    const INSERT_JOB: &'static str = "insert ignore into outbox_jobs (begun, name) values (?, ?)";
    const BEGIN_JOB: &'static str =
        "update outbox_jobs set begun = ? where name = ? and begun <= ?";
    const PAUSE_STREAM: &'static str = "\
        insert into outbox_streams (name, paused) values (?, ?)
        on duplicate key update paused = values(paused)";
    const INSERT_STREAM: &'static str = "insert ignore into outbox_streams (name) values (?)";
    // Rows that another session has locked are left for the next clean-up.
    const DELETE_SETTLED: &'static str = "\
        delete p from (
            select seq from {table} where status = 2 and added <= ?
                and coalesce({settled_at}, added) <= ? order by added limit ?
            for update skip locked) old
        straight_join {table} p force index ({table}_seq) on p.seq = old.seq";
    const DELETE_RECEIVED: &'static str = "\
        delete r from (
            select id from received where added <= ? order by added limit ?
            for update skip locked) old
        straight_join received r force index (primary) on r.id = old.id";
    const DELETE_DELIVERIES: &'static str = "\
        delete d from (
            select msg_id, consumer from outbox_deliveries where last_begun <= ? limit ?
            for update skip locked) old
        straight_join outbox_deliveries d force index (primary)
            on d.msg_id = old.msg_id and d.consumer = old.consumer";
    const COUNT_DELIVERY: &'static str = "\
        insert into outbox_deliveries (msg_id, consumer, begun) values (?, ?, 1)
        on duplicate key update begun = begun + 1, last_begun = utc_timestamp(6)";

    const WATCH_INTERVAL: Duration = Duration::from_millis(60);
    /// The last message and the last call, by their `seq`.
    type Seen = (Option<i64>, Option<i64>);

    fn limits_statements(&self) -> bool {
        true
    }

    fn longest_statement(&mut self) -> QueryResult<usize> {
        let bytes: i64 = diesel::select(sql::<BigInt>(
            "cast(@@session.max_allowed_packet as signed)",
        ))
        .get_result(self)?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn last_error(&mut self) -> Option<LastError> {
        // Not a prepared statement: preparing one clears the error.
        self.batch_execute(
            "get diagnostics condition 1 @outbox_number = mysql_errno, @outbox_text = message_text",
        )
        .ok()?;
        let last: Diagnosed = diesel::sql_query(
            "select cast(@outbox_number as unsigned) as number, @outbox_text as text",
        )
        .get_result(self)
        .ok()?;
        Some(LastError {
            number: u32::try_from(last.number?).ok()?,
            text: last.text?,
        })
    }

    fn check_version(version: &str) -> Result<(), TooOld> {
        // MariaDB precedes its version with another one for old replication clients.
        let version = version.strip_prefix("5.5.5-").unwrap_or(version);
        if version.contains("MariaDB") {
            server::check(version, "MariaDB", &MARIADB)
        } else {
            server::check(version, "MySQL", &MYSQL)
        }
    }

    // `save` opens no connection.
    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn why_unusable(&mut self, url: &str) -> QueryResult<Option<&'static str>> {
        if !address::asks_for_encryption(url) {
            return Ok(None);
        }
        let ciphers: Vec<Variable> =
            diesel::sql_query("show session status like 'Ssl_cipher'").load(self)?;
        let is_encrypted = ciphers.iter().any(|cipher| !cipher.value.is_empty());
        Ok((!is_encrypted).then_some(address::NOT_ENCRYPTED))
    }

    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn avoid_client_defects(&mut self, is_ours: bool) -> QueryResult<()> {
        client_library::avoid_kept_errors(self, is_ours)
    }

    fn why_no_claims(&mut self) -> QueryResult<Option<Unsuitable>> {
        // Not `@@`, which fails if the server has no such variable.
        let variables: Vec<Variable> =
            diesel::sql_query("show variables where variable_name in ('log_bin', 'binlog_format')")
                .load(self)?;
        let is = |name: &str, value: &str| {
            let mut all = variables.iter();
            all.any(|it| it.name == name && it.value.eq_ignore_ascii_case(value))
        };
        let refuses = is("log_bin", "ON") && is("binlog_format", "STATEMENT");
        Ok(refuses.then_some(Unsuitable::BinlogFormat))
    }

    // A user without rights does not see the tables. Our sessions ask for English.
    // The index that has the key begins with the state and the time, so the keys that block are read once.
    fn blocked(now: &str) -> (String, String) {
        let blocking = format!(
            "left join (
                select k.row_key, min(k.seq) as seq
                from (
                    select `key` as row_key, seq from {{table}} force index ({{table}}_held)
                    where status in (-1, 1) and due_at > {now} and `key` is not null limit {COUNT_LIMIT}) k
                group by k.row_key) blocking on blocking.row_key = w.row_key"
        );
        let is_blocked = "(w.is_due and blocking.seq is not null and blocking.seq < w.seq)";
        (is_blocked.to_owned(), blocking)
    }

    fn why_no_tables(
        &mut self,
        _: Option<&str>,
        error: &diesel::result::Error,
    ) -> QueryResult<Tables> {
        let text = error.to_string();
        Ok(if text.contains(" command denied to user '") {
            Tables::Denied
        } else if text.starts_with("Table '") || text.starts_with("Unknown column '") {
            Tables::Missing
        } else {
            Tables::Exist
        })
    }

    // Claims lock a row of it.
    const CLAIM_RIGHTS: &'static [Needed] = &[("outbox_jobs", &["select", "update"])];

    fn find_rights(&mut self, needed: &[Needed]) -> QueryResult<Vec<FoundTable>> {
        rights::find(self, needed)
    }

    fn grantee(&mut self) -> QueryResult<Grantee> {
        rights::grantee(self)
    }

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn text_literal(text: &str) -> String {
        text_literal(text)
    }

    // The columns are ASCII, with which other texts cannot be compared.
    fn id_literal(id: &str) -> Option<String> {
        id.is_ascii().then(|| text_literal(id))
    }

    fn as_text(column: &str) -> String {
        format!("cast({column} as char)")
    }

    fn json_with(json: &str, member: &str, text: &str) -> String {
        format!("json_replace({json}, concat('$.\"', {member}, '\"'), {text})")
    }

    fn distinct_id(id: &str) -> Cow<'_, str> {
        // Comparisons ignore trailing spaces.
        if id.ends_with(' ') {
            return Cow::Owned(digest(id));
        }
        Cow::Borrowed(id)
    }

    // MariaDB keeps the text.
    fn rounds_json(&mut self) -> QueryResult<bool> {
        Ok(!self.server_version()?.contains("MariaDB"))
    }

    // The statement for several rows, because Diesel does not cache it: see `client_library`.
    fn insert_if_new(&mut self, row: &NewPublished) -> QueryResult<bool> {
        let insert = diesel::insert_into(published::table).values(std::slice::from_ref(row));
        unless_taken(insert.execute(self))
    }

    fn insert_call_if_new(&mut self, row: &NewCallRow) -> QueryResult<bool> {
        let insert = diesel::insert_into(outbox_calls::table).values(std::slice::from_ref(row));
        unless_taken(insert.execute(self))
    }

    fn lease_rows(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        lease: Duration,
        room: Room,
        filter: &Filter,
    ) -> QueryResult<ClaimResult> {
        claim::lease_rows(self, table, token, lease, room, filter)
    }

    fn await_claims(&mut self, table: LifecycleTable) -> QueryResult<()> {
        claim::await_claims(self, table)
    }

    fn change_leased(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
        changes: Changes,
    ) -> QueryResult<usize> {
        settle::change_leased(self, table, token, rows, changes)
    }

    fn not_locked(&mut self, table: LifecycleTable, rows: &[RowKey]) -> QueryResult<Vec<RowKey>> {
        settle::not_locked(self, table, rows)
    }

    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn session_settings(&mut self) -> QueryResult<String> {
        session::settings(self)
    }

    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn is_read_only(&mut self) -> QueryResult<bool> {
        session::is_read_only(self)
    }

    fn wait_for_locks(&mut self, limit: Duration) -> QueryResult<()> {
        let seconds = limit.as_secs().max(1);
        self.batch_execute(&format!("set session innodb_lock_wait_timeout = {seconds}"))
    }

    /// Reads the highest `seq` of each table, from memory; nothing is new unless one has changed. Retried rows and
    /// resumed streams do not show.
    fn has_news(&mut self, seen: &mut Self::Seen) -> QueryResult<bool> {
        let message = published::table.select(diesel::dsl::max(published::seq));
        let call = outbox_calls::table.select(diesel::dsl::max(outbox_calls::seq));
        let last: (Option<i64>, Option<i64>) =
            diesel::select((message.single_value(), call.single_value())).get_result(self)?;
        let before = std::mem::replace(seen, last);
        let is_new = |before: Option<i64>, last: Option<i64>| before != last && last.is_some();
        Ok(is_new(before.0, last.0) || is_new(before.1, last.1))
    }
}

/// Whether an INSERT wrote its row, or its id was there. A violation undoes its statement only; `insert ignore`
/// would also hide other errors.
fn unless_taken(written: QueryResult<usize>) -> QueryResult<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A text as a hexadecimal literal, which needs no quotes in any SQL mode.
fn text_literal(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 x'{digits}'")
}

#[derive(QueryableByName)]
struct Variable {
    #[diesel(sql_type = Text, column_name = "Variable_name")]
    name: String,
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// The last error as the server keeps it.
#[derive(QueryableByName)]
struct Diagnosed {
    #[diesel(sql_type = Nullable<Unsigned<BigInt>>)]
    number: Option<u64>,
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
}
