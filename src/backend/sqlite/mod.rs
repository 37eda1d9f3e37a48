//! SQLite.

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod address;
mod claim;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod fault;
#[cfg(feature = "cli")]
mod inspection;
mod migrate;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod session;
mod types;
mod watch;

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use uuid::Uuid;

use super::claimed::{ClaimResult, Room, RowKey};
use super::dialect::{Changes, Dialect, insert_on_conflict};
use super::lifecycle::LifecycleTable;
use super::new_call_row::NewCallRow;
use super::new_row::NewPublished;
use super::qualify::{RunQueryDsl, unqualified};
use super::schemas::Tables;
use super::scope::Filter;
use crate::schema::{self, Moment};

unqualified!(SqliteConnection);

impl super::Returning for SqliteConnection {}

impl Dialect for SqliteConnection {
    const NOW: &'static str = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'";
    const EPOCH: &'static str = "'1970-01-01 00:00:00.000000'";
    const NEVER: &'static str = "'9000-01-01 00:00:00.000000'";
    // A scan by the primary key would read all rows that were sent.
    const BY_WAITING: &'static str = "indexed by {table}_waiting";
    const BY_PARKED: &'static str = "indexed by {table}_parked";
    const BY_SETTLED: &'static str = "indexed by {table}_settled";
    const VERSION: Option<&'static str> = None;
    // A transaction that writes has no other writer beside it.
    const FOR_UPDATE: &'static str = "";
    // Immediate: writers take turns from the start, so that no transaction fails later because its snapshot is old.
    const BEGIN_INBOX: &'static str = "begin immediate; savepoint outbox_inbox";
    const DELETE_SETTLED: &'static str = "\
        delete from {table} where seq in (
            select seq from {table} where status = 2 and added <= $1
                and coalesce({settled_at}, added) <= $2 order by added limit $3)";
    const DELETE_RECEIVED: &'static str = "\
        delete from received where id in (
            select id from received where added <= $1 order by added limit $2)";
    const DELETE_DELIVERIES: &'static str = "\
        delete from outbox_deliveries where (msg_id, consumer) in (
            select msg_id, consumer from outbox_deliveries where last_begun <= $1 limit $2)";

    const WATCH_INTERVAL: Duration = Duration::from_millis(20);
    type Seen = watch::Files;

    fn why_no_tables(
        &mut self,
        _: Option<&str>,
        error: &diesel::result::Error,
    ) -> QueryResult<Tables> {
        let text = error.to_string();
        let is_missing = ["no such table: ", "no such column: "]
            .iter()
            .any(|start| text.starts_with(start));
        Ok(if is_missing {
            Tables::Missing
        } else {
            Tables::Exist
        })
    }

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn text_literal(text: &str) -> String {
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("cast(x'{digits}' as text)")
    }

    // The text may be no JSON.
    fn json_with(json: &str, member: &str, text: &str) -> String {
        format!(
            "case when json_valid({json}) then json_replace({json}, '$.\"' || {member} || '\"', {text}) \
             else {json} end"
        )
    }

    // A deferred transaction that becomes a writer may fail at once; an immediate one waits.
    fn in_transaction<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<diesel::result::Error>,
    {
        self.immediate_transaction(work)
    }

    fn insert_if_new(&mut self, row: &NewPublished) -> QueryResult<bool> {
        insert_on_conflict!(self, published, row)
    }

    fn insert_call_if_new(&mut self, row: &NewCallRow) -> QueryResult<bool> {
        insert_on_conflict!(self, outbox_calls, row)
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

    fn await_claims(&mut self, _: LifecycleTable) -> QueryResult<()> {
        Ok(())
    }

    fn change_leased(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
        changes: Changes,
    ) -> QueryResult<usize> {
        diesel::sql_query(format!(
            "update {} set {} where {} and lease_token = '{token}' and status <> 2",
            table.name,
            changes.sql,
            Self::among(rows)
        ))
        .execute(self)
    }

    #[cfg(any(feature = "relay", feature = "subscriber"))]
    fn session_settings(&mut self) -> QueryResult<String> {
        session::settings(self)
    }

    fn wait_for_locks(&mut self, limit: Duration) -> QueryResult<()> {
        self.batch_execute(&format!("pragma busy_timeout = {}", limit.as_millis()))
    }

    fn has_news(&mut self, seen: &mut watch::Files) -> QueryResult<bool> {
        watch::has_news(self, seen)
    }
}
