//! How the tables are made and removed on MySQL and MariaDB.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::migrations::{MigrateError, MigrationDialect, Script, TABLES, scripts};

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

impl MigrationDialect for MysqlConnection {
    const SOURCE: EmbeddedMigrations = embed_migrations!("migrations/mysql");
    const SQL: &'static [Script] = scripts!("mysql": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
        "2026-11-21-000003_deliveries",
        "2026-11-28-000004_calls", "2026-11-29-000005_trail");
    // A BEGIN would release the locks, and DDL is never part of a transaction.
    const REVERTS_IN_TRANSACTION: bool = false;

    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        let name = lock_name(self)?;
        let locked: Option<i32> = diesel::select(sql::<Nullable<Integer>>(&format!(
            "get_lock('{name}', 600)"
        )))
        .get_result::<Option<i32>>(self)?;
        if locked != Some(1) {
            return Err(MigrateError::Locked);
        }
        let outcome = work(self);
        diesel::select(sql::<Nullable<Integer>>(&format!("release_lock('{name}')")))
            .execute(self)?;
        outcome
    }

    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        let names: Vec<String> = TABLES.iter().map(|table| format!("'{table}'")).collect();
        let tables: Vec<Table> = diesel::sql_query(format!(
            "select table_name as name from information_schema.tables
             where table_schema = database() and table_name in ('outbox_migrations', {})",
            names.join(", ")
        ))
        .load(self)?;
        let locked: Vec<String> = tables
            .iter()
            .map(|table| format!("`{}` write", table.name))
            .collect();
        self.batch_execute(&format!("lock tables {}", locked.join(", ")))?;
        let outcome = work(self);
        self.batch_execute("unlock tables")?;
        outcome
    }

    fn has_table(&mut self, name: &str) -> QueryResult<bool> {
        diesel::select(
            sql::<Bool>(
                "exists (select 1 from information_schema.tables
                where table_schema = database() and table_name = ",
            )
            .bind::<Text, _>(name)
            .sql(")"),
        )
        .get_result(self)
    }
}

/// The name of MySQL's lock, which belongs to the server and not to the database, and is limited to 64
/// characters. The digest is computed here: MySQL has no `md5()` from 9.6 on, and versions that used it must
/// find the same lock.
fn lock_name(conn: &mut MysqlConnection) -> QueryResult<String> {
    use md5::{Digest, Md5};

    let database: Option<String> =
        diesel::select(sql::<Nullable<Text>>("database()")).get_result(conn)?;
    let digest = Md5::digest(database.unwrap_or_default().as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("diesel-outbox-{digits}"))
}
