//! The migrations of `published` and `received`, which live beside the user's own.
//!
//! They are recorded in a table of their own, `outbox_migrations`: in Diesel's, the user's
//! `diesel migration revert` would meet versions that it does not know.

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationVersion, Result as MigrationResult};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

/// The migrations for PostgreSQL.
#[cfg(feature = "postgres")]
pub const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The migrations for SQLite.
#[cfg(feature = "sqlite")]
pub const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

diesel::table! {
    /// Which of our migrations were run.
    outbox_migrations (version) {
        /// The migration's version.
        version -> diesel::sql_types::Text,
    }
}

const TABLE: &str =
    "create table if not exists outbox_migrations (version varchar(50) primary key not null)";

/// A harness that records versions in `outbox_migrations`.
struct Harness<'a, C>(&'a mut C);

/// Why the tables could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("the outbox's migrations failed: {0}")]
pub struct MigrateError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A connection that the outbox's tables can be made on.
pub trait Migrate {
    /// Makes the tables, or brings them up to date; returns the versions that were run.
    ///
    /// # Errors
    ///
    /// When the database refuses; migrations run before that one stay.
    fn migrate(&mut self) -> Result<Vec<String>, MigrateError>;

    /// Removes the tables and all that is in them; returns the versions that were reverted.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    fn revert(&mut self) -> Result<Vec<String>, MigrateError>;
}

macro_rules! migrate {
    ($feature:literal, $connection:ty, $backend:ty, $source:ident) => {
        #[cfg(feature = $feature)]
        impl MigrationHarness<$backend> for Harness<'_, $connection> {
            fn run_migration(
                &mut self,
                migration: &dyn Migration<$backend>,
            ) -> MigrationResult<MigrationVersion<'static>> {
                let version = migration.name().version().as_owned();
                let apply = |conn: &mut $connection| -> MigrationResult<()> {
                    migration.run(conn)?;
                    diesel::insert_into(outbox_migrations::table)
                        .values(outbox_migrations::version.eq(version.to_string()))
                        .execute(conn)?;
                    Ok(())
                };
                if migration.metadata().run_in_transaction() {
                    self.0.transaction(apply)?;
                } else {
                    apply(self.0)?;
                }
                Ok(version)
            }

            fn revert_migration(
                &mut self,
                migration: &dyn Migration<$backend>,
            ) -> MigrationResult<MigrationVersion<'static>> {
                let version = migration.name().version().as_owned();
                let revert = |conn: &mut $connection| -> MigrationResult<()> {
                    migration.revert(conn)?;
                    diesel::delete(outbox_migrations::table.find(version.to_string()))
                        .execute(conn)?;
                    Ok(())
                };
                if migration.metadata().run_in_transaction() {
                    self.0.transaction(revert)?;
                } else {
                    revert(self.0)?;
                }
                Ok(version)
            }

            fn applied_migrations(&mut self) -> MigrationResult<Vec<MigrationVersion<'static>>> {
                self.0.batch_execute(TABLE)?;
                let versions = outbox_migrations::table
                    .select(outbox_migrations::version)
                    .order(outbox_migrations::version.desc())
                    .load::<String>(self.0)?;
                Ok(versions.into_iter().map(MigrationVersion::from).collect())
            }
        }

        #[cfg(feature = $feature)]
        impl Migrate for $connection {
            fn migrate(&mut self) -> Result<Vec<String>, MigrateError> {
                let mut harness = Harness(self);
                let versions = harness
                    .run_pending_migrations($source)
                    .map_err(MigrateError)?;
                Ok(versions.iter().map(ToString::to_string).collect())
            }

            fn revert(&mut self) -> Result<Vec<String>, MigrateError> {
                let versions = Harness(&mut *self)
                    .revert_all_migrations($source)
                    .map_err(MigrateError)?
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                self.batch_execute("drop table outbox_migrations")
                    .map_err(|error| MigrateError(error.into()))?;
                Ok(versions)
            }
        }
    };
}

migrate!("postgres", diesel::PgConnection, diesel::pg::Pg, POSTGRES);
migrate!(
    "sqlite",
    diesel::SqliteConnection,
    diesel::sqlite::Sqlite,
    SQLITE
);
