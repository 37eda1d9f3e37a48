//! Creates and removes the tables on PostgreSQL.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::time_limits::TimeLimits;
use super::{adoption, migration_lock, search_path};
use crate::current_schema::in_schema;
use crate::migrations::{MigrateError, MigrationDialect, Script, scripts};

impl MigrationDialect for PgConnection {
    const SOURCE: EmbeddedMigrations = embed_migrations!("migrations/postgres");
    const SQL: &'static [Script] = scripts!("postgres": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
        "2026-11-21-000003_wake", "2026-11-21-000004_deliveries", "2026-11-27-000005_schemas",
        "2026-11-28-000006_calls", "2026-11-28-000007_parked", "2026-11-29-000008_trail");

    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        let schema = search_path::find(self)?;
        let limits = TimeLimits::of(self)?;
        in_schema(&schema, || {
            migration_lock::acquire(self)?;
            let outcome = work(self).map_err(|error| limits.explain(self, error));
            let released = migration_lock::release(self);
            let done = outcome?;
            released?;
            Ok(done)
        })
    }

    fn checked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        search_path::alone(self, |conn| {
            migration_lock::check(conn)?;
            work(conn)
        })
    }

    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        adoption::briefly_locked(self, work)
    }

    fn has_table(&mut self, name: &str) -> QueryResult<bool> {
        diesel::select(
            sql::<Bool>("to_regclass(")
                .bind::<Text, _>(name)
                .sql(") is not null"),
        )
        .get_result(self)
    }

    fn adopt(&mut self) -> Result<bool, MigrateError> {
        adoption::adopt(self)
    }

    fn restore(&mut self, is_forced: bool) -> Result<(), MigrateError> {
        adoption::restore(self, is_forced)
    }
}
