//! The schema in which PostgreSQL's tables are made.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::MigrateError;
use crate::backend::{Schemas, quoted};
use crate::current_schema::current;

#[derive(QueryableByName)]
struct Path {
    #[diesel(sql_type = Text)]
    path: String,
}

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Nullable<Bool>)]
    may_create: Option<bool>,
}

/// Runs work with a search path that has nothing but the outbox's schema, so that each name in a
/// migration means that schema. Temporary tables come last instead of first.
pub(super) fn alone<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, &str) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    let named = current();
    let schema = conn.find_schema(named.as_deref())?.schema;
    let Some(schema) = schema else {
        return Err(MigrateError::NoSchema(
            "the search path has no schema in which this user may create tables: name one by \
             database_schema, and `grant create on schema`"
                .to_owned(),
        ));
    };
    let quoted_name = quoted(&schema, '"');
    let rights: Rights = diesel::sql_query(
        "select has_schema_privilege(to_regnamespace($1), 'create') as may_create",
    )
    .bind::<Text, _>(&quoted_name)
    .get_result(conn)?;
    match rights.may_create {
        Some(true) => {}
        Some(false) => {
            return Err(MigrateError::NoSchema(format!(
                "this user may not create tables in the schema `{schema}`: name another by \
                 database_schema, or `grant create on schema {quoted_name}`"
            )));
        }
        None => {
            return Err(MigrateError::NoSchema(format!(
                "there is no schema `{schema}`: create it with `create schema {quoted_name}`"
            )));
        }
    }
    let before: Path =
        diesel::sql_query("select current_setting('search_path') as path").get_result(conn)?;
    set(conn, &format!("{quoted_name}, pg_temp"))?;
    let outcome = work(conn, &schema);
    // In a transaction of the caller's that failed its rollback does it.
    let restored = set(conn, &before.path);
    let done = outcome?;
    restored?;
    Ok(done)
}

fn set(conn: &mut PgConnection, path: &str) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "select set_config('search_path', {}, false)",
        quoted(path, '\'')
    ))
}
