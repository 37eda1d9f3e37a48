//! The schema of the outbox, and the user's rights on it.

use diesel::prelude::*;

use crate::backend::schemas::{Found, Tables};

/// The schemas of the search path in their order, without those of PostgreSQL itself.
const SEARCH_PATH: &str = "\
select n.nspname::text as name,
    exists (select from pg_catalog.pg_class c
        where c.relnamespace = n.oid and c.relname = 'published') as has_outbox,
    has_schema_privilege(n.oid, 'create') as may_create
from unnest(current_schemas(false)) with ordinality as p (name, place)
join pg_catalog.pg_namespace n on n.nspname = p.name
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by p.place";

/// Checks the columns that a start needs in a schema, and whether the user may read them; independent of the
/// server's language.
const COLUMNS: &str = "\
select count(a.attnum) = count(*) as are_there,
    coalesce(bool_and(has_schema_privilege(n.oid, 'usage')
        and has_column_privilege(c.oid, a.attnum, 'select')), false) as may_read
from (values ('published', 'id'), ('published', 'seq'), ('published', 'due_at'),
    ('received', 'msg_id'), ('received', 'consumer'), ('outbox_jobs', 'name'),
    ('outbox_jobs', 'begun'), ('outbox_streams', 'name'), ('outbox_streams', 'paused'),
    ('outbox_deliveries', 'msg_id'), ('outbox_deliveries', 'consumer'),
    ('outbox_deliveries', 'begun'), ('outbox_deliveries', 'last_begun'),
    ('outbox_calls', 'id'), ('outbox_calls', 'crashes'))
    as needed (in_table, name)
left join pg_catalog.pg_namespace n on n.nspname = $1
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = needed.in_table
left join pg_catalog.pg_attribute a
    on a.attrelid = c.oid and a.attname = needed.name and not a.attisdropped";

#[derive(QueryableByName)]
struct Columns {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    are_there: bool,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    may_read: bool,
}

#[derive(QueryableByName)]
struct Schema {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    has_outbox: bool,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    may_create: bool,
}

pub(super) fn find_schema(conn: &mut PgConnection, named: Option<&str>) -> QueryResult<Found> {
    let mut path: Vec<Schema> = diesel::sql_query(SEARCH_PATH).load(conn)?;
    let is_ours = |schema: &Schema| match named {
        Some(named) => schema.name == named,
        None => schema.has_outbox || schema.may_create,
    };
    let ours = path.iter().position(is_ours).map(|at| path.remove(at));
    let others = path.into_iter().filter(|schema| schema.has_outbox);
    Ok(Found {
        has_outbox: ours.as_ref().is_some_and(|schema| schema.has_outbox),
        schema: named.map(str::to_owned).or(ours.map(|schema| schema.name)),
        others: others.map(|schema| schema.name).collect(),
    })
}

pub(super) fn why_no_tables(conn: &mut PgConnection, named: Option<&str>) -> QueryResult<Tables> {
    let Some(schema) = find_schema(conn, named)?.schema else {
        return Ok(Tables::Missing);
    };
    let columns: Columns = diesel::sql_query(COLUMNS)
        .bind::<diesel::sql_types::Text, _>(schema)
        .get_result(conn)?;
    Ok(match columns {
        Columns {
            are_there: false, ..
        } => Tables::Missing,
        Columns {
            may_read: false, ..
        } => Tables::Denied,
        _ => Tables::Exist,
    })
}
