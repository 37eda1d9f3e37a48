//! How the tables are made and removed on SQLite.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::migrations::{MigrateError, MigrationDialect, Script, scripts};

impl MigrationDialect for SqliteConnection {
    const SOURCE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
    const SQL: &'static [Script] = scripts!("sqlite": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
        "2026-11-21-000003_deliveries",
        "2026-11-28-000004_calls", "2026-11-28-000005_parked", "2026-11-29-000006_trail");

    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        self.immediate_transaction(work)
    }

    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        // The transaction of `one_at_a_time` is the only writer.
        work(self)
    }

    fn has_table(&mut self, name: &str) -> QueryResult<bool> {
        diesel::select(
            sql::<Bool>("exists (select 1 from sqlite_master where type = 'table' and name = ")
                .bind::<Text, _>(name)
                .sql(")"),
        )
        .get_result(self)
    }
}
