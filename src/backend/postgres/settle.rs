//! Changes to leased rows.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Array;
use uuid::Uuid;

use crate::backend::claimed::RowKey;
use crate::backend::dialect::Changes;
use crate::backend::lifecycle::LifecycleTable;
use crate::backend::qualify::RunQueryDsl;
use crate::schema::{self, Id};

/// An UPDATE of rows that are under a token and that no other session has locked.
struct Settlement {
    before_ids: String,
    ids: Vec<Id>,
    token: Id,
    is_frequent: bool,
}

impl QueryFragment<Pg> for Settlement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.is_frequent {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(&self.before_ids);
        out.push_bind_param::<Array<schema::Uuid>, _>(&self.ids)?;
        out.push_sql(") and free.lease_token = ");
        out.push_bind_param::<schema::Uuid, _>(&self.token)?;
        // Not `= 1`, or the planner may take the partial index.
        out.push_sql(" and free.status <> 2 for no key update skip locked)");
        Ok(())
    }
}

impl QueryId for Settlement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

pub(super) fn change_leased(
    conn: &mut PgConnection,
    table: LifecycleTable,
    token: Uuid,
    rows: &[RowKey],
    changes: Changes,
) -> QueryResult<usize> {
    let (name, changes, is_frequent) = (table.name, changes.sql, changes.is_frequent);
    let statement = Settlement {
        before_ids: format!(
            "update {name} set {changes} where id in (
                select free.id from {name} free where free.id = any("
        ),
        ids: rows.iter().map(|row| Id(row.id)).collect(),
        token: Id(token),
        is_frequent,
    };
    statement.execute(conn)
}

pub(super) fn not_locked(
    conn: &mut PgConnection,
    table: LifecycleTable,
    rows: &[RowKey],
) -> QueryResult<Vec<RowKey>> {
    #[derive(QueryableByName)]
    struct Free {
        #[diesel(sql_type = schema::Uuid)]
        id: Id,
    }

    let ids: Vec<Id> = rows.iter().map(|row| Id(row.id)).collect();
    let free: Vec<Free> = diesel::sql_query(format!(
        "select id from {} where id = any($1) for no key update skip locked",
        table.name
    ))
    .bind::<Array<schema::Uuid>, _>(ids)
    .load(conn)?;
    let is_free = |row: &&RowKey| free.iter().any(|free| free.id == Id(row.id));
    Ok(rows.iter().filter(is_free).copied().collect())
}
