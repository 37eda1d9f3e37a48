//! The database user's rights on PostgreSQL.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::qualify::schema_name;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::rights::{FoundTable, Grantee, Needed, RIGHTS};

/// The rights on the tables, in the order of [`RIGHTS`]: on all columns, and on any.
/// `policies` has the letters of the commands that permissive policies for the user are for.
const TABLES: &str = "\
select c.relname::text as name, has_schema_privilege(n.oid, 'usage') as usage,
    on_columns.may_select, on_columns.may_insert, on_columns.may_update,
    has_table_privilege(c.oid, 'delete') as may_delete,
    has_any_column_privilege(c.oid, 'select') as any_select,
    has_any_column_privilege(c.oid, 'insert') as any_insert,
    has_any_column_privilege(c.oid, 'update') as any_update,
    row_security_active(c.oid) as is_filtered,
    array_to_string(array(
        select p.polcmd::text from pg_catalog.pg_policy p
        where p.polrelid = c.oid and p.polpermissive and (0::oid = any(p.polroles)
            or exists (select from unnest(p.polroles) as r (id) where pg_has_role(r.id, 'usage')))
    ), '') as policies
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'select')), false) as may_select,
        coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'insert')), false) as may_insert,
        coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'update')), false) as may_update
    from pg_catalog.pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) on_columns
where n.nspname = {schema} and c.relkind in ('r', 'p')";

#[derive(QueryableByName)]
struct TableRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    usage: bool,
    #[diesel(sql_type = Bool)]
    may_select: bool,
    #[diesel(sql_type = Bool)]
    may_insert: bool,
    #[diesel(sql_type = Bool)]
    may_update: bool,
    #[diesel(sql_type = Bool)]
    may_delete: bool,
    #[diesel(sql_type = Bool)]
    any_select: bool,
    #[diesel(sql_type = Bool)]
    any_insert: bool,
    #[diesel(sql_type = Bool)]
    any_update: bool,
    #[diesel(sql_type = Bool)]
    is_filtered: bool,
    #[diesel(sql_type = Text)]
    policies: String,
}

/// The letter of a command in `pg_policy`.
fn letter(right: &str) -> char {
    match right {
        "select" => 'r',
        "insert" => 'a',
        "update" => 'w',
        _ => 'd',
    }
}

impl TableRow {
    fn found(self, needed: &[&str]) -> FoundTable {
        let may = [
            self.may_select,
            self.may_insert,
            self.may_update,
            self.may_delete,
        ];
        let rights = RIGHTS.into_iter().zip(may);
        let lacks = rights.filter(|(right, may)| !may && needed.contains(right));
        let on_any_column = [
            self.any_select,
            self.any_insert,
            self.any_update,
            self.may_delete,
        ];
        let some_columns = RIGHTS.into_iter().zip(may.into_iter().zip(on_any_column));
        let some_columns = some_columns.filter(|(_, (on_all, on_any))| *on_any && !on_all);
        let usage = (!self.usage).then_some("usage on its schema");
        let has_policy = |right: &str| self.policies.contains(['*', letter(right)]);
        let hidden = RIGHTS
            .into_iter()
            .filter(|right| self.is_filtered && needed.contains(right) && !has_policy(right));
        FoundTable {
            hidden: hidden.collect(),
            on_some_columns: some_columns.map(|(right, _)| right).collect(),
            is_filtered: self.is_filtered,
            name: self.name,
            lacks: usage
                .into_iter()
                .chain(lacks.map(|(right, _)| right))
                .collect(),
        }
    }
}

/// The statement contains names of our tables as texts only.
pub(super) fn find(conn: &mut PgConnection, needed: &[Needed]) -> QueryResult<Vec<FoundTable>> {
    let statement = TABLES.replace("{schema}", &schema_name());
    let rows: Vec<TableRow> = diesel::sql_query(statement).load(conn)?;
    let found = rows.into_iter().filter_map(|row| {
        let (_, rights) = needed.iter().find(|(table, _)| row.name == *table)?;
        Some(row.found(rights))
    });
    Ok(found.collect())
}

pub(super) fn grantee(conn: &mut PgConnection) -> QueryResult<Grantee> {
    let schema = schema_name();
    diesel::sql_query(format!(
        "select quote_ident(current_user) as user_name, quote_ident({schema}) as schema_name"
    ))
    .get_result(conn)
}
