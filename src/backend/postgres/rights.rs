//! The database user's rights on PostgreSQL.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::qualify::schema_name;
use crate::backend::rights::{FoundTable, Grantee, Needed, RIGHTS};

/// The rights on the tables, in the order of [`RIGHTS`]. A right on columns counts if it is one on all columns.
const TABLES: &str = "\
select c.relname::text as name, has_schema_privilege(n.oid, 'usage') as usage,
    on_columns.may_select, on_columns.may_insert, on_columns.may_update,
    has_table_privilege(c.oid, 'delete') as may_delete
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
        let usage = (!self.usage).then_some("usage on its schema");
        FoundTable {
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
