//! PostgreSQL.

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod address;
mod adoption;
mod claim;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod fault;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod fault_sentences;
#[cfg(feature = "cli")]
mod inspection;
#[cfg(all(feature = "relay", feature = "tls"))]
mod libpq_tls;
#[cfg(all(feature = "relay", feature = "tls"))]
mod listener;
mod migrate;
mod migration_lock;
mod qualify;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod refusals;
mod rights;
mod schemas;
mod search_path;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod session;
mod settle;
mod time_limits;
#[cfg(all(feature = "relay", feature = "tls"))]
mod tls_stream;
mod types;

use std::borrow::Cow;
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
use super::qualify::RunQueryDsl;
use super::rights::{FoundTable, Grantee, Needed};
use super::schemas::{Found, Tables};
use super::scope::Filter;
use super::server::{self, Feature, TooOld};
use crate::schema::{self, Moment};

/// Claims use it: PostgreSQL 12, "Release Notes".
const NEEDED: [Feature; 1] = [Feature {
    name: "WITH … AS MATERIALIZED",
    since: &[12],
}];

impl super::Returning for PgConnection {}

impl Dialect for PgConnection {
    const NOW: &'static str = "clock_timestamp()";
    const EPOCH: &'static str = "'1970-01-01 00:00:00+00'";
    const NEVER: &'static str = "'9000-01-01 00:00:00+00'";
    const SESSION: Option<&'static str> = Some("pg_backend_pid()::bigint");
    const HAS_TEXT_IDS: bool = false;
    const ROW_KEY: &'static str = "seq, id::text as id";
    // Outside of a transaction a ROLLBACK would log a warning in the server.
    const ROLL_BACK_INBOX: &'static str = "begin; rollback";
    const COMMITS_AFTER_FAILURE: bool = false;
    const CHECK_TRANSACTION: Option<&'static str> = Some("select 1");
    // Rows that another session has locked are left for the next clean-up.
    const DELETE_SETTLED: &'static str = "\
        delete from {table} where id in (
            select id from {table} where status = 2 and added <= $1
                and coalesce({settled_at}, added) <= $2 order by added limit $3
            for update skip locked)";
    const DELETE_RECEIVED: &'static str = "\
        delete from received where id in (
            select id from received where added <= $1 order by added limit $2
            for update skip locked)";
    const DELETE_DELIVERIES: &'static str = "\
        delete from outbox_deliveries where (msg_id, consumer) in (
            select msg_id, consumer from outbox_deliveries where last_begun <= $1 limit $2
            for update skip locked)";

    // Used only if the process cannot listen.
    const WATCH_INTERVAL: Duration = Duration::from_millis(20);
    type Seen = ();

    fn refuses_nul(&self) -> bool {
        true
    }

    fn check_version(version: &str) -> Result<(), TooOld> {
        let number = version.strip_prefix("PostgreSQL ").unwrap_or_default();
        server::check(number, "PostgreSQL", &NEEDED)
    }

    fn find_schema(&mut self, named: Option<&str>) -> QueryResult<Found> {
        schemas::find_schema(self, named)
    }

    fn why_no_tables(
        &mut self,
        named: Option<&str>,
        _: &diesel::result::Error,
    ) -> QueryResult<Tables> {
        schemas::why_no_tables(self, named)
    }

    fn find_rights(&mut self, needed: &[Needed]) -> QueryResult<Vec<FoundTable>> {
        rights::find(self, needed)
    }

    fn grantee(&mut self) -> QueryResult<Grantee> {
        rights::grantee(self)
    }

    fn in_named_schema(sql: &str) -> Cow<'_, str> {
        qualify::here(sql)
    }

    fn now(&mut self) -> QueryResult<DateTime<Utc>> {
        diesel::select(sql::<schema::Utc>(Self::NOW))
            .get_result::<Moment>(self)
            .map(|moment| moment.0)
    }

    fn time_literal(time: DateTime<Utc>) -> String {
        format!("'{}+00'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
    }

    fn text_literal(text: &str) -> String {
        text_literal(text)
    }

    fn as_text(column: &str) -> String {
        format!("{column}::text")
    }

    fn contains(text: &str, part: &str) -> String {
        format!("strpos({text}, {part}) > 0")
    }

    fn json_with(json: &str, member: &str, text: &str) -> String {
        format!(
            "case when jsonb_typeof({json}) = 'object'
                then jsonb_set({json}, array[{member}], to_jsonb({text}), false) else {json} end"
        )
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

    fn among(rows: &[RowKey]) -> String {
        let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
        format!("id = any('{{{}}}'::uuid[])", ids.join(","))
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
        self.batch_execute(&format!("set lock_timeout = {}", limit.as_millis()))
    }

    fn begin_watch(&mut self) -> QueryResult<()> {
        self.batch_execute("listen outbox")
    }

    // As the trigger `outbox_wake` does.
    fn notify(&mut self) -> QueryResult<()> {
        let schema = qualify::schema_name();
        self.batch_execute(&format!("select pg_notify('outbox', {schema})"))
    }

    /// Makes Diesel read what the server has sent, without a query.
    fn has_news(&mut self, (): &mut ()) -> QueryResult<bool> {
        let mut any = false;
        let schema = crate::current_schema::current();
        for notification in self.notifications_iter() {
            any |= concerns(&notification?.payload, schema.as_deref());
        }
        Ok(any)
    }

    #[cfg(all(feature = "relay", feature = "tls"))]
    fn listen(
        url: &str,
        schema: Option<&str>,
        wake: &dyn Fn(),
        is_over: &dyn Fn() -> bool,
    ) -> super::watch::Listened {
        listener::listen(url, schema, wake, is_over)
    }
}

/// Whether a notification with this payload may concern the outbox of `schema`. Triggers of older
/// versions send no schema.
fn concerns(payload: &str, schema: Option<&str>) -> bool {
    payload.is_empty() || schema.is_none_or(|schema| schema == payload)
}

/// A text in a statement. One of harmless characters is a plain literal, which the planner can evaluate; in any
/// other the statement's placeholders, quotes and escapes cannot be found, whatever it is.
fn text_literal(text: &str) -> String {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b" []\",._:/-".contains(&byte);
    if text == "{}" || text.bytes().all(is_harmless) {
        return format!("'{text}'::text");
    }
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("convert_from(decode('{digits}', 'hex'), 'UTF8')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_harmless_characters_or_digits() {
        assert_eq!(
            text_literal(r"a'\$1"),
            "convert_from(decode('61275c2431', 'hex'), 'UTF8')"
        );
        assert_eq!(text_literal(r#"["a/b.c"]"#), r#"'["a/b.c"]'::text"#);
        assert_eq!(text_literal("{}"), "'{}'::text");
        for text in ["'", "\\", "$1", "{table}", "?", "%", "\n", "\u{e9}"] {
            assert!(text_literal(text).starts_with("convert_from("), "{text:?}");
        }
    }
}
