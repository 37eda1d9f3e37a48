//! The migrations of `published` and `received`, which live beside the user's own.
//!
//! They are recorded in a table of their own, `outbox_migrations`: in Diesel's, the user's
//! `diesel migration revert` would meet versions that it does not know.

use crate::backend::{Upkeep, check_version};

pub use error::MigrateError;

#[cfg(feature = "postgres")]
mod adoption;
mod error;
mod lock;
#[cfg(feature = "postgres")]
mod search_path;
mod unsent;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, MigrationVersion, Result as MigrationResult};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use lock::{OneAtATime, Undisturbed};
use unsent::Unsent;

/// The migrations for PostgreSQL.
#[cfg(feature = "postgres")]
pub const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The migrations for MySQL and MariaDB.
#[cfg(feature = "mysql")]
pub const MYSQL: EmbeddedMigrations = embed_migrations!("migrations/mysql");

/// The migrations for SQLite.
#[cfg(feature = "sqlite")]
pub const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// A migration's SQL, for those who keep migrations in a folder of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// The name of its folder.
    pub name: &'static str,
    /// What makes the tables.
    pub up: &'static str,
    /// What removes them.
    pub down: &'static str,
}

macro_rules! scripts {
    ($database:literal: $($name:literal),*) => {
        &[$(Script {
            name: $name,
            up: include_str!(concat!("../../migrations/", $database, "/", $name, "/up.sql")),
            down: include_str!(concat!("../../migrations/", $database, "/", $name, "/down.sql")),
        }),*]
    };
}

/// The SQL of [`POSTGRES`].
#[cfg(feature = "postgres")]
pub const POSTGRES_SCRIPTS: &[Script] = scripts!("postgres": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
    "2026-11-21-000003_wake", "2026-11-21-000004_deliveries", "2026-11-27-000005_schemas");

/// The SQL of [`MYSQL`].
#[cfg(feature = "mysql")]
pub const MYSQL_SCRIPTS: &[Script] = scripts!("mysql": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
    "2026-11-21-000003_deliveries");

/// The SQL of [`SQLITE`].
#[cfg(feature = "sqlite")]
pub const SQLITE_SCRIPTS: &[Script] = scripts!("sqlite": "2026-11-21-000001_outbox", "2026-11-21-000002_streams",
    "2026-11-21-000003_deliveries");

diesel::table! {
    /// Which of our migrations were run.
    outbox_migrations (version) {
        /// The migration's version.
        version -> diesel::sql_types::Text,
    }
}

/// Stands among the versions where the tables were Django's before.
const ADOPTED: &str = "adopted";

const TABLE: &str =
    "create table if not exists outbox_migrations (version varchar(50) primary key not null)";

/// A harness that records versions in `outbox_migrations`.
struct Harness<'a, C>(&'a mut C);

/// A connection that the outbox's tables can be made on.
pub trait Migrate {
    /// The SQL of the migrations.
    const SCRIPTS: &'static [Script];

    /// Makes the tables, or brings them up to date; returns the versions that were run.
    ///
    /// On PostgreSQL they are in one schema: that of [`in_schema`](crate::in_schema) or
    /// [`set_schema`](crate::set_schema), else the first of the search path that has a table
    /// `published` or in which the user may create tables.
    ///
    /// # Errors
    ///
    /// When the database refuses; migrations run before that one stay. When something that is not
    /// ours is in the way; nothing is changed then.
    fn migrate(&mut self) -> Result<Vec<String>, MigrateError>;

    /// Removes the tables, or gives Django's back; returns the versions that were reverted.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Unsent`] if rows wait, are leased or are parked, and would be deleted;
    /// nothing is changed then. When the database refuses.
    fn revert(&mut self) -> Result<Vec<String>, MigrateError>;

    /// [`revert`](Self::revert) that deletes rows which were not sent.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    fn force_revert(&mut self) -> Result<Vec<String>, MigrateError>;
}

/// Counts the lines of `outbox_migrations`, the mark of an adoption among them.
trait Recorded {
    fn recorded(&mut self) -> QueryResult<i64>;
}

/// Removes what was made.
trait Undo {
    fn undo(&mut self, is_forced: bool) -> Result<Vec<String>, MigrateError>;
}

/// Tables that were there before ours.
trait Takeover {
    /// Makes ours of them. False where there are none.
    fn adopt(&mut self) -> Result<bool, MigrateError>;

    /// Makes of ours what they were.
    fn restore(&mut self) -> Result<(), MigrateError>;
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// Tables that a migration makes.
const TABLES: [&str; 5] = [
    "published",
    "received",
    "outbox_jobs",
    "outbox_streams",
    "outbox_deliveries",
];

/// Fails if one of the tables is there, though nothing says that it is ours.
macro_rules! nothing_in_the_way {
    ($conn:expr, $question:literal) => {
        for table in TABLES {
            let found: Count = diesel::sql_query($question)
                .bind::<diesel::sql_types::Text, _>(table)
                .get_result($conn)?;
            if found.n > 0 {
                return Err(MigrateError::Foreign {
                    table,
                    reason: "was not made by `outbox migrate`: rename it. If `outbox migrate \
                             --print` has made it, go on without this command"
                        .to_owned(),
                });
            }
        }
    };
}

#[cfg(feature = "postgres")]
impl Takeover for diesel::PgConnection {
    fn adopt(&mut self) -> Result<bool, MigrateError> {
        if adoption::adopt(self)? {
            return Ok(true);
        }
        nothing_in_the_way!(self, "select count(to_regclass($1)) as n");
        Ok(false)
    }

    fn restore(&mut self) -> Result<(), MigrateError> {
        adoption::restore(self)
    }
}

macro_rules! refuse {
    ($feature:literal, $connection:ty, $question:literal) => {
        #[cfg(feature = $feature)]
        impl Takeover for $connection {
            fn adopt(&mut self) -> Result<bool, MigrateError> {
                nothing_in_the_way!(self, $question);
                Ok(false)
            }

            fn restore(&mut self) -> Result<(), MigrateError> {
                Ok(())
            }
        }
    };
}

refuse!(
    "mysql",
    diesel::MysqlConnection,
    "select count(*) as n from information_schema.tables
     where table_schema = database() and table_name = ?"
);
refuse!(
    "sqlite",
    diesel::SqliteConnection,
    "select count(*) as n from sqlite_master where type = 'table' and name = ?"
);

macro_rules! migrate {
    ($feature:literal, $connection:ty, $backend:ty, $source:ident, $scripts:ident) => {
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
                // A BEGIN on MySQL would give up the locks on its tables.
                if <$connection>::REVERTS_IN_TRANSACTION
                    && migration.metadata().run_in_transaction()
                {
                    self.0.transaction(revert)?;
                } else {
                    revert(self.0)?;
                }
                Ok(version)
            }

            fn applied_migrations(&mut self) -> MigrationResult<Vec<MigrationVersion<'static>>> {
                self.0.batch_execute(TABLE)?;
                let versions = outbox_migrations::table
                    .filter(outbox_migrations::version.ne(ADOPTED))
                    .select(outbox_migrations::version)
                    .order(outbox_migrations::version.desc())
                    .load::<String>(self.0)?;
                Ok(versions.into_iter().map(MigrationVersion::from).collect())
            }
        }

        #[cfg(feature = $feature)]
        impl Recorded for $connection {
            fn recorded(&mut self) -> QueryResult<i64> {
                outbox_migrations::table.count().get_result(self)
            }
        }

        #[cfg(feature = $feature)]
        impl Migrate for $connection {
            const SCRIPTS: &'static [Script] = $scripts;

            fn migrate(&mut self) -> Result<Vec<String>, MigrateError> {
                let version = self.server_version()?;
                check_version(&version).map_err(|old| MigrateError::Refused(old.into()))?;
                self.one_at_a_time(|conn| {
                    let mut versions = Vec::new();
                    let applied = Harness(&mut *conn)
                        .applied_migrations()
                        .map_err(MigrateError::Refused)?;
                    let adopted = applied.is_empty()
                        && conn.adopt().or_else(|error| {
                            let is_foreign = matches!(error, MigrateError::Foreign { .. });
                            if is_foreign && conn.recorded()? == 0 {
                                conn.batch_execute("drop table outbox_migrations")?;
                            }
                            Err(error)
                        })?;
                    if adopted {
                        // The tables are as the first migration makes them.
                        let first = first_version::<$backend>(&$source)?;
                        diesel::insert_into(outbox_migrations::table)
                            .values(outbox_migrations::version.eq(&first))
                            .execute(conn)?;
                        versions.push(first);
                    }
                    let mut harness = Harness(conn);
                    let run = harness
                        .run_pending_migrations($source)
                        .map_err(MigrateError::Refused)?;
                    versions.extend(run.iter().map(ToString::to_string));
                    Ok(versions)
                })
            }

            fn revert(&mut self) -> Result<Vec<String>, MigrateError> {
                self.undo(false)
            }

            fn force_revert(&mut self) -> Result<Vec<String>, MigrateError> {
                self.undo(true)
            }
        }

        #[cfg(feature = $feature)]
        impl Undo for $connection {
            fn undo(&mut self, is_forced: bool) -> Result<Vec<String>, MigrateError> {
                self.one_at_a_time(|conn| {
                    let applied = Harness(&mut *conn)
                        .applied_migrations()
                        .map_err(MigrateError::Refused)?;
                    let listed = || applied.iter().map(ToString::to_string).collect();
                    // More of them than versions: the mark of an adoption.
                    if conn.recorded()? > i64::try_from(applied.len()).unwrap_or(i64::MAX) {
                        conn.restore()?;
                        return Ok(listed());
                    }
                    if applied.is_empty() {
                        conn.batch_execute("drop table outbox_migrations")?;
                        return Ok(Vec::new());
                    }
                    if !is_forced {
                        conn.refuse_unsent()?;
                    }
                    conn.undisturbed(|conn| {
                        if !is_forced {
                            // Nobody writes any more; it may have changed meanwhile.
                            conn.refuse_unsent()?;
                        }
                        Harness(&mut *conn)
                            .revert_all_migrations($source)
                            .map_err(MigrateError::Refused)?;
                        conn.batch_execute("drop table outbox_migrations")?;
                        Ok(listed())
                    })
                })
            }
        }
    };
}

migrate!(
    "postgres",
    diesel::PgConnection,
    diesel::pg::Pg,
    POSTGRES,
    POSTGRES_SCRIPTS
);
migrate!(
    "mysql",
    diesel::MysqlConnection,
    diesel::mysql::Mysql,
    MYSQL,
    MYSQL_SCRIPTS
);
migrate!(
    "sqlite",
    diesel::SqliteConnection,
    diesel::sqlite::Sqlite,
    SQLITE,
    SQLITE_SCRIPTS
);

fn first_version<DB: diesel::backend::Backend>(
    source: &EmbeddedMigrations,
) -> Result<String, MigrateError> {
    let migrations: Vec<Box<dyn Migration<DB>>> =
        source.migrations().map_err(MigrateError::Refused)?;
    let versions = migrations
        .iter()
        .map(|migration| migration.name().version().to_string());
    Ok(versions.min().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &str, scripts: &[Script]) {
        let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut found: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let listed: Vec<&str> = scripts.iter().map(|script| script.name).collect();
        assert_eq!(listed, found);
    }

    #[test]
    fn every_migration_can_be_printed() {
        #[cfg(feature = "postgres")]
        check("postgres", POSTGRES_SCRIPTS);
        #[cfg(feature = "mysql")]
        check("mysql", MYSQL_SCRIPTS);
        #[cfg(feature = "sqlite")]
        check("sqlite", SQLITE_SCRIPTS);
    }
}
