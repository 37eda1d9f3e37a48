//! The schema in which PostgreSQL's tables are created.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::qualify::quoted;
use crate::backend::dialect::Dialect;
use crate::current_schema::current;
use crate::migrations::MigrateError;

#[derive(QueryableByName)]
struct Path {
    #[diesel(sql_type = Text)]
    search_path: String,
}

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Nullable<Bool>)]
    may_create: Option<bool>,
}

/// Finds the schema for the tables, and fails if this user may not create tables in it.
pub(super) fn find(conn: &mut PgConnection) -> Result<String, MigrateError> {
    // A pooler may run the two halves of a prepared statement in different sessions.
    conn.transaction(|conn| {
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
            Some(true) => Ok(schema),
            Some(false) => Err(MigrateError::NoSchema(format!(
                "this user may not create tables in the schema `{schema}`: name another by \
                 database_schema, or `grant create on schema {quoted_name}`"
            ))),
            None => Err(MigrateError::NoSchema(format!(
                "there is no schema `{schema}`: create it with `create schema {quoted_name}`"
            ))),
        }
    })
}

/// Runs work in a transaction with a search path that contains only the current outbox's schema, so that each
/// name in a migration means that schema. Temporary tables come last instead of first.
///
/// The path ends with the transaction: behind a pooler, other clients use the session too. No statement
/// before the work takes a snapshot, so that the work may lock tables first.
pub(super) fn alone<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    let Some(schema) = current() else {
        return conn.transaction(work);
    };
    conn.transaction(|conn| {
        let before: Path = diesel::sql_query("show search_path").get_result(conn)?;
        let schema = quoted(&schema, '"');
        conn.batch_execute(&format!("set local search_path to {schema}, pg_temp"))?;
        let done = work(conn)?;
        // The caller's transaction may continue.
        let before = quoted(&before.search_path, '\'');
        conn.batch_execute(&format!("select set_config('search_path', {before}, true)"))?;
        Ok(done)
    })
}
