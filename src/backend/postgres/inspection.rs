//! What `outbox doctor` reads on PostgreSQL.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::qualify::schema_name;
use crate::backend::inspection::{
    ConnectionsLeft, FoundIndex, FoundTrigger, IndexRow, Inspection, Named, Recorded,
    SessionLimits, TableStatistics, UsedDestination, read_versions, table_list, used_destinations,
};
use crate::backend::qualify::RunQueryDsl;

const INDEXES: &str = "\
select t.relname::text as in_table, i.relname::text as name,
    array_to_string(array(
        select a.attname::text from unnest(x.indkey) with ordinality as k (number, place)
        join pg_catalog.pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.number
        order by k.place
    ), ',') as column_list,
    x.indisvalid::integer::bigint as valid, (x.indpred is not null)::integer::bigint as partial
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_class t on t.oid = x.indrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where n.nspname = {schema} and t.relname in ({tables})";

const TRIGGERS: &str = "\
select c.relname::text as in_table, t.tgname::text as name, t.tgenabled <> 'D' as is_enabled
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = {schema} and c.relname in ({tables}) and not t.tgisinternal";

#[derive(QueryableByName)]
struct TriggerRow {
    #[diesel(sql_type = Text)]
    in_table: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_enabled: bool,
}

const STATISTICS: &str = "\
select s.relname::text as name, greatest(s.n_live_tup, c.reltuples::bigint, 0) as known_rows,
    s.n_mod_since_analyze as changed, s.last_analyze is not null or s.last_autoanalyze is not null as was_analyzed,
    current_setting('autovacuum')::boolean
        and not coalesce('autovacuum_enabled=false' = any(c.reloptions)
            or 'autovacuum_enabled=off' = any(c.reloptions), false) as is_renewed
from pg_catalog.pg_stat_all_tables s join pg_catalog.pg_class c on c.oid = s.relid
where s.schemaname = {schema} and s.relname in ('published', 'received', 'outbox_calls')
order by s.relname";

#[derive(QueryableByName)]
struct StatisticsRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    known_rows: i64,
    #[diesel(sql_type = BigInt)]
    changed: i64,
    #[diesel(sql_type = Bool)]
    was_analyzed: bool,
    #[diesel(sql_type = Bool)]
    is_renewed: bool,
}

/// The limits of the server, the role and the database; below 0 there is none. Each connection of a client has a
/// user and a database; of the sessions of other users nothing else is shown. PostgreSQL 14 has the first setting,
/// 17 the second, 16 `reserved_connections`.
const LIMITS: &str = "\
with sessions as (
    select usesysid, datid from pg_catalog.pg_stat_activity where usesysid is not null and datid is not null
)
select (select setting::bigint from pg_catalog.pg_settings where name = 'idle_session_timeout') as idle,
    (select setting::bigint from pg_catalog.pg_settings where name = 'transaction_timeout') as transaction,
    current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint
        - coalesce(nullif(current_setting('reserved_connections', true), '')::bigint, 0) as of_server,
    (select count(*) from sessions) as in_server,
    case when r.rolsuper then -1 else r.rolconnlimit end::bigint as of_role,
    (select count(*) from sessions where usesysid = r.oid) as in_role,
    case when r.rolsuper then -1 else d.datconnlimit end::bigint as of_database,
    (select count(*) from sessions where datid = d.oid) as in_database
from pg_catalog.pg_roles r, pg_catalog.pg_database d
where r.rolname = current_user and d.datname = current_database()";

#[derive(QueryableByName)]
struct LimitsRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    idle: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    transaction: Option<i64>,
    #[diesel(sql_type = BigInt)]
    of_server: i64,
    #[diesel(sql_type = BigInt)]
    in_server: i64,
    #[diesel(sql_type = BigInt)]
    of_role: i64,
    #[diesel(sql_type = BigInt)]
    in_role: i64,
    #[diesel(sql_type = BigInt)]
    of_database: i64,
    #[diesel(sql_type = BigInt)]
    in_database: i64,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// A statement about the outbox's schema and tables.
fn filled(statement: &str) -> String {
    statement
        .replace("{schema}", &schema_name())
        .replace("{tables}", &table_list())
}

/// These statements contain names of our tables as texts only.
fn load<T>(conn: &mut PgConnection, statement: &str) -> QueryResult<Vec<T>>
where
    T: QueryableByName<diesel::pg::Pg> + 'static,
{
    diesel::RunQueryDsl::load(diesel::sql_query(filled(statement)), conn)
}

impl Inspection for PgConnection {
    const HAS_IDLE_WATCH: bool = true;
    const READ_ONLY_SETTING: Option<&'static str> =
        Some("`default_transaction_read_only`, also of this role or database (`\\drds`)");

    fn online(create_index: &str) -> String {
        create_index.replacen(" index ", " index concurrently ", 1)
    }

    fn recorded_versions(&mut self) -> QueryResult<Recorded> {
        let rights: Vec<Answer> = load(
            self,
            "select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as yes
            from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = {schema} and c.relname = 'outbox_migrations'",
        )?;
        Ok(match rights.into_iter().next() {
            None => Recorded::NoTable,
            Some(Answer { yes: false }) => Recorded::Denied,
            Some(_) => read_versions!(self),
        })
    }

    fn find_indexes(&mut self) -> QueryResult<Vec<FoundIndex>> {
        let rows: Vec<IndexRow> = load(self, INDEXES)?;
        Ok(rows.into_iter().map(FoundIndex::from).collect())
    }

    fn find_triggers(&mut self) -> QueryResult<Vec<FoundTrigger>> {
        let rows: Vec<TriggerRow> = load(self, TRIGGERS)?;
        let trigger = |row: TriggerRow| FoundTrigger {
            table: row.in_table,
            name: row.name,
            is_enabled: row.is_enabled,
        };
        Ok(rows.into_iter().map(trigger).collect())
    }

    fn may_create_tables(&mut self) -> QueryResult<bool> {
        let rights: Vec<Answer> = load(
            self,
            "select has_schema_privilege(n.oid, 'create') as yes
            from pg_catalog.pg_namespace n where n.nspname = {schema}",
        )?;
        Ok(rights.into_iter().next().is_some_and(|answer| answer.yes))
    }

    fn table_statistics(&mut self) -> QueryResult<Vec<TableStatistics>> {
        let rows: Vec<StatisticsRow> = load(self, STATISTICS)?;
        let statistics = |row: StatisticsRow| TableStatistics {
            table: row.name,
            rows: row.known_rows,
            changed: row.changed,
            was_analyzed: row.was_analyzed,
            is_renewed: row.is_renewed,
        };
        Ok(rows.into_iter().map(statistics).collect())
    }

    fn session_limits(&mut self) -> QueryResult<SessionLimits> {
        let rows: Vec<LimitsRow> = load(self, LIMITS)?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(SessionLimits::default());
        };
        let limits = [
            (row.of_server, row.in_server),
            (row.of_role, row.in_role),
            (row.of_database, row.in_database),
        ];
        let left = limits.into_iter().filter(|(limit, _)| *limit >= 0);
        let left = left.map(|(limit, used)| ConnectionsLeft {
            left: (limit - used).max(0),
            limit,
        });
        let limit = |name: &'static str, value: Option<i64>| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            let value = value.filter(|value| *value > 0)?;
            Some((name, Duration::from_millis(value)))
        };
        Ok(SessionLimits {
            idle: limit("idle_session_timeout", row.idle),
            transaction: limit("transaction_timeout", row.transaction),
            connections: left.min_by_key(|connections| connections.left),
        })
    }

    fn used_destinations(&mut self) -> QueryResult<Vec<UsedDestination>> {
        diesel::sql_query(used_destinations()).load(self)
    }
}
