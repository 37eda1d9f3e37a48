//! What `outbox doctor` reads of a database. Nothing is changed.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::Backend;
use super::lifecycle::{SUCCEEDED, WAITING};
use super::rights::{self, FoundTable};
use crate::migrations::Migrate;

/// The versions in `outbox_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// There is no such table.
    NoTable,
    /// The user may not read it. Only `outbox migrate` needs it.
    Denied,
    Versions(Vec<String>),
}

/// An index on a table of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundIndex {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// Whether the database uses it: a build that was interrupted leaves one that it does not use.
    pub(crate) is_valid: bool,
    /// Whether it has a condition.
    pub(crate) is_partial: bool,
}

/// A trigger on a table of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundTrigger {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) is_enabled: bool,
}

/// The statistics by which the database plans statements on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableStatistics {
    pub(crate) table: String,
    /// The number of rows, as far as it is known.
    pub(crate) rows: i64,
    /// Rows that were written since the statistics were made.
    pub(crate) changed: i64,
    pub(crate) was_analyzed: bool,
    /// Whether the database renews them by itself.
    pub(crate) is_renewed: bool,
}

/// Connections that a user may still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionsLeft {
    pub(crate) left: i64,
    /// The limit, without connections that are reserved for others.
    pub(crate) limit: i64,
}

/// The server's limits of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionLimits {
    /// The setting by which the server ends idle sessions, and its value.
    pub(crate) idle: Option<(&'static str, Duration)>,
    /// The time after which the server ends the session of an open transaction, and its setting.
    pub(crate) transaction: Option<(&'static str, Duration)>,
    pub(crate) connections: Option<ConnectionsLeft>,
}

/// A destination of rows that wait or were sent.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct UsedDestination {
    #[diesel(sql_type = Text)]
    pub(crate) destination: String,
    /// The number of rows that wait.
    #[diesel(sql_type = BigInt)]
    pub(crate) waiting: i64,
    /// The number of rows among the last [`READ_SENT_ROWS`] that were sent.
    #[diesel(sql_type = BigInt)]
    pub(crate) sent: i64,
}

/// Maximum number of waiting rows that are read for their destinations.
pub(crate) const READ_ROWS: i64 = 100_000;

/// Maximum number of sent rows that are read for their destinations.
pub(crate) const READ_SENT_ROWS: i64 = 1_000;

/// Statements that only read, on one database.
pub(crate) trait Inspection: Backend + Migrate {
    /// Whether the database's clock may differ from that of this machine.
    const HAS_OWN_CLOCK: bool = true;

    /// Whether the index of a constraint has the constraint's name.
    const NAMES_INDEXES_OF_CONSTRAINTS: bool = true;

    /// Whether a relay's watch for new rows is a session without statements.
    const HAS_IDLE_WATCH: bool = false;

    /// The setting with which sessions take no writes, and how it may be set for this user.
    const READ_ONLY_SETTING: Option<&'static str> = None;

    /// The statement that creates an index, in the form that lets others write in the meantime.
    fn online(create_index: &str) -> String {
        create_index.to_owned()
    }

    /// The tables of the outbox that exist.
    fn find_tables(&mut self) -> QueryResult<Vec<FoundTable>> {
        self.find_rights(&rights::all())
    }

    /// The migrations that were run.
    fn recorded_versions(&mut self) -> QueryResult<Recorded>;

    /// The indexes on the tables of the outbox.
    fn find_indexes(&mut self) -> QueryResult<Vec<FoundIndex>>;

    /// The triggers on the tables of the outbox.
    fn find_triggers(&mut self) -> QueryResult<Vec<FoundTrigger>> {
        Ok(Vec::new())
    }

    /// Whether the user may create tables in the outbox's schema.
    fn may_create_tables(&mut self) -> QueryResult<bool> {
        Ok(true)
    }

    /// Why no row can be written, if none can.
    fn why_not_writable(&mut self) -> QueryResult<Option<&'static str>> {
        Ok(self
            .is_read_only()?
            .then_some("the server or the session takes no writes"))
    }

    /// The statistics of the tables with many rows, if the database has them.
    fn table_statistics(&mut self) -> QueryResult<Vec<TableStatistics>> {
        Ok(Vec::new())
    }

    /// The server's limits of this session.
    fn session_limits(&mut self) -> QueryResult<SessionLimits> {
        Ok(SessionLimits::default())
    }

    /// The destinations of the first [`READ_ROWS`] waiting rows, and of the [`READ_SENT_ROWS`] sent rows that were
    /// written last.
    fn used_destinations(&mut self) -> QueryResult<Vec<UsedDestination>>;
}

/// The statement for [`Inspection::used_destinations`].
pub(super) fn used_destinations() -> String {
    format!(
        "select destination, count(case when is_sent = 0 then 1 end) as waiting,
            count(case when is_sent = 1 then 1 end) as sent
        from (
            select destination, 0 as is_sent from (
                select destination from published where status = {WAITING} order by seq limit {READ_ROWS}
            ) of_waiting
            union all
            select destination, 1 as is_sent from (
                select destination from published where status = {SUCCEEDED} order by added desc
                limit {READ_SENT_ROWS}
            ) of_sent
        ) of_used group by destination order by destination"
    )
}

/// The rows of [`Inspection::find_indexes`].
#[derive(QueryableByName)]
pub(super) struct IndexRow {
    #[diesel(sql_type = Text)]
    in_table: String,
    #[diesel(sql_type = Text)]
    name: String,
    /// Separated by commas.
    #[diesel(sql_type = Text)]
    column_list: String,
    #[diesel(sql_type = BigInt)]
    valid: i64,
    #[diesel(sql_type = BigInt)]
    partial: i64,
}

impl From<IndexRow> for FoundIndex {
    fn from(row: IndexRow) -> Self {
        let columns = row.column_list.split(',');
        Self {
            columns: columns.map(str::to_owned).collect(),
            table: row.in_table,
            name: row.name,
            is_valid: row.valid != 0,
            is_partial: row.partial != 0,
        }
    }
}

/// A row with one text.
#[derive(QueryableByName)]
pub(super) struct Named {
    #[diesel(sql_type = Text)]
    pub(super) name: String,
}

/// The names of the tables as a list of SQL literals.
pub(super) fn table_list() -> String {
    let quoted: Vec<String> = crate::migrations::TABLES
        .iter()
        .map(|table| format!("'{table}'"))
        .collect();
    quoted.join(", ")
}

macro_rules! read_versions {
    ($conn:expr) => {{
        let versions =
            diesel::sql_query("select version as name from outbox_migrations order by version");
        // That of `qualify`, which the caller imports.
        let versions: Vec<Named> = RunQueryDsl::load(versions, $conn)?;
        Recorded::Versions(versions.into_iter().map(|row| row.name).collect())
    }};
}
pub(super) use read_versions;
