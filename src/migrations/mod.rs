//! The migrations of the outbox's tables, beside the user's own.
//!
//! They are recorded in a separate table, `outbox_migrations`: in Diesel's, the user's
//! `diesel migration revert` would find versions that it does not know.

mod contract;
mod error;
mod unsent;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, MigrationVersion, Result as MigrationResult};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::backend::{Dialect, Maintenance};

pub(crate) use contract::MigrationDialect;
pub use error::MigrateError;
use unsent::Unsent;

/// A migration's SQL, for projects that keep all migrations in their own folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// The name of its folder.
    pub name: &'static str,
    /// The SQL that creates the tables.
    pub up: &'static str,
    /// The SQL that removes them.
    pub down: &'static str,
}

macro_rules! scripts {
    ($database:literal: $($name:literal),*) => {
        &[$(Script {
            name: $name,
            up: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $database, "/", $name, "/up.sql")),
            down: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $database, "/", $name, "/down.sql")),
        }),*]
    };
}
pub(crate) use scripts;

// Not part of the API.
mod versions {
    diesel::table! {
        /// The migrations of this crate that were run.
        outbox_migrations (version) {
            /// The migration's version.
            version -> diesel::sql_types::Text,
        }
    }
}
pub(crate) use versions::outbox_migrations;

/// Recorded as a version if the tables were adopted from Django.
pub(crate) const ADOPTED: &str = "adopted";

pub(crate) const VERSIONS: &str =
    "create table if not exists outbox_migrations (version varchar(50) primary key not null)";

/// A harness that records versions in `outbox_migrations`.
struct Harness<'a, C>(&'a mut C);

/// A connection on which the outbox's tables can be created.
pub trait Migrate {
    /// The SQL of the migrations.
    const SCRIPTS: &'static [Script];

    /// Creates the tables, or brings them up to date. Returns the versions that were run.
    ///
    /// On PostgreSQL they are in one schema: that of [`in_schema`](crate::in_schema) or
    /// [`set_schema`](crate::set_schema), else the first of the search path that has a table
    /// `published` or in which the user may create tables.
    ///
    /// # Errors
    ///
    /// [`MigrateError`] if the database fails; migrations that were run before remain. If another object is in
    /// the way, nothing is changed.
    fn migrate(&mut self) -> Result<Vec<String>, MigrateError>;

    /// Removes the tables, or gives them back to Django. Returns the versions that were reverted.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Unsent`] if rows that wait, are leased or are parked would be deleted;
    /// nothing is changed then. Other errors if the database fails.
    fn revert(&mut self) -> Result<Vec<String>, MigrateError>;

    /// Like [`revert`](Self::revert), but also deletes rows that were not sent, and calls that were not executed.
    ///
    /// # Errors
    ///
    /// [`MigrateError`] if the database fails.
    fn force_revert(&mut self) -> Result<Vec<String>, MigrateError>;
}

/// Steps of the migrations that are the same on all databases.
trait Steps {
    /// Fails if one of the tables exists and is not recorded as ours.
    fn refuse_foreign(&mut self) -> Result<(), MigrateError>;

    /// Counts the rows of `outbox_migrations`, including the mark of an adoption.
    fn recorded(&mut self) -> Result<i64, MigrateError>;

    /// Removes the table `outbox_migrations`.
    fn drop_versions(&mut self) -> Result<(), MigrateError>;

    /// Removes the tables.
    fn undo(&mut self, is_forced: bool) -> Result<Vec<String>, MigrateError>;
}

/// The tables that a migration creates.
pub(crate) const TABLES: [&str; 7] = [
    "published",
    "received",
    "outbox_jobs",
    "outbox_streams",
    "outbox_deliveries",
    "outbox_calls",
    "outbox_trail",
];

macro_rules! migrate {
    ($module:ident: $connection:ty) => {
        impl MigrationHarness<<$connection as Connection>::Backend> for Harness<'_, $connection> {
            fn run_migration(
                &mut self,
                migration: &dyn Migration<<$connection as Connection>::Backend>,
            ) -> MigrationResult<MigrationVersion<'static>> {
                let version = migration.name().version().as_owned();
                let apply = |conn: &mut $connection| -> Result<(), MigrateError> {
                    migration.run(conn).map_err(MigrateError::from_boxed)?;
                    diesel::insert_into(outbox_migrations::table)
                        .values(outbox_migrations::version.eq(version.to_string()))
                        .execute(conn)?;
                    Ok(())
                };
                self.0.transaction(|conn| conn.checked(apply))?;
                Ok(version)
            }

            fn revert_migration(
                &mut self,
                migration: &dyn Migration<<$connection as Connection>::Backend>,
            ) -> MigrationResult<MigrationVersion<'static>> {
                let version = migration.name().version().as_owned();
                let revert = |conn: &mut $connection| -> Result<(), MigrateError> {
                    migration.revert(conn).map_err(MigrateError::from_boxed)?;
                    diesel::delete(outbox_migrations::table.find(version.to_string()))
                        .execute(conn)?;
                    Ok(())
                };
                // A BEGIN on MySQL would release the locks on its tables.
                if <$connection>::REVERTS_IN_TRANSACTION {
                    self.0.transaction(|conn| conn.checked(revert))?;
                } else {
                    self.0.checked(revert)?;
                }
                Ok(version)
            }

            fn applied_migrations(&mut self) -> MigrationResult<Vec<MigrationVersion<'static>>> {
                let versions = self.0.checked(|conn| {
                    conn.batch_execute(VERSIONS)?;
                    let versions = outbox_migrations::table
                        .filter(outbox_migrations::version.ne(ADOPTED))
                        .select(outbox_migrations::version)
                        .order(outbox_migrations::version.desc())
                        .load::<String>(conn)?;
                    Ok(versions)
                })?;
                Ok(versions.into_iter().map(MigrationVersion::from).collect())
            }
        }

        impl Steps for $connection {
            fn refuse_foreign(&mut self) -> Result<(), MigrateError> {
                let found = self.checked(|conn| {
                    for table in TABLES {
                        if conn.has_table(table)? {
                            return Ok(Some(table));
                        }
                    }
                    Ok(None)
                })?;
                found.map_or(Ok(()), |table| {
                    Err(MigrateError::Foreign {
                        table,
                        reason: "was not made by `outbox migrate`: rename it. If `outbox migrate \
                                 --print` made it, continue without this command"
                            .to_owned(),
                    })
                })
            }

            fn recorded(&mut self) -> Result<i64, MigrateError> {
                self.checked(|conn| Ok(outbox_migrations::table.count().get_result(conn)?))
            }

            fn drop_versions(&mut self) -> Result<(), MigrateError> {
                self.checked(|conn| Ok(conn.batch_execute("drop table outbox_migrations")?))
            }

            fn undo(&mut self, is_forced: bool) -> Result<Vec<String>, MigrateError> {
                self.one_at_a_time(|conn| {
                    let applied = Harness(&mut *conn)
                        .applied_migrations()
                        .map_err(MigrateError::from_boxed)?;
                    let listed = || applied.iter().map(ToString::to_string).collect();
                    // More rows than versions: the tables were adopted.
                    if conn.recorded()? > i64::try_from(applied.len()).unwrap_or(i64::MAX) {
                        conn.restore(is_forced)?;
                        return Ok(listed());
                    }
                    if applied.is_empty() {
                        conn.drop_versions()?;
                        return Ok(Vec::new());
                    }
                    if !is_forced {
                        conn.checked(Self::refuse_unsent)?;
                    }
                    conn.undisturbed(|conn| {
                        if !is_forced {
                            // No other session writes now; the count may have changed since the first check.
                            conn.refuse_unsent()?;
                        }
                        Harness(&mut *conn)
                            .revert_all_migrations(<$connection>::SOURCE)
                            .map_err(MigrateError::from_boxed)?;
                        conn.drop_versions()?;
                        Ok(listed())
                    })
                })
            }
        }

        impl Migrate for $connection {
            const SCRIPTS: &'static [Script] = <$connection>::SQL;

            fn migrate(&mut self) -> Result<Vec<String>, MigrateError> {
                // A pooler may run the two halves of a prepared statement in different sessions.
                let version = self.transaction(Self::server_version)?;
                Self::check_version(&version).map_err(|old| MigrateError::Refused(old.into()))?;
                self.one_at_a_time(|conn| {
                    let mut versions = Vec::new();
                    let applied = Harness(&mut *conn)
                        .applied_migrations()
                        .map_err(MigrateError::from_boxed)?;
                    let adopted = applied.is_empty()
                        && conn
                            .adopt()
                            .and_then(|adopted| {
                                if !adopted {
                                    conn.refuse_foreign()?;
                                }
                                Ok(adopted)
                            })
                            .or_else(|error| {
                                let is_foreign = matches!(error, MigrateError::Foreign { .. });
                                if is_foreign && conn.recorded()? == 0 {
                                    conn.drop_versions()?;
                                }
                                Err(error)
                            })?;
                    if adopted {
                        // The tables are as the first migration creates them.
                        let first = first_version::<<$connection as Connection>::Backend>(
                            &<$connection>::SOURCE,
                        )?;
                        conn.checked(|conn| {
                            diesel::insert_into(outbox_migrations::table)
                                .values(outbox_migrations::version.eq(&first))
                                .execute(conn)?;
                            Ok(())
                        })?;
                        versions.push(first);
                    }
                    let mut harness = Harness(conn);
                    let run = harness
                        .run_pending_migrations(<$connection>::SOURCE)
                        .map_err(MigrateError::from_boxed)?;
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
    };
}

crate::backend::databases!(migrate);

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

    macro_rules! check {
        ($module:ident: $connection:ty) => {
            let folder = stringify!($module);
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut found: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            let scripts = <$connection as Migrate>::SCRIPTS;
            let listed: Vec<&str> = scripts.iter().map(|script| script.name).collect();
            assert_eq!(listed, found);
        };
    }

    macro_rules! check_transactions {
        ($module:ident: $connection:ty) => {
            let migrations: Vec<Box<dyn Migration<<$connection as Connection>::Backend>>> =
                <$connection>::SOURCE.migrations().unwrap();
            for migration in migrations {
                let runs_in_transaction = migration.metadata().run_in_transaction();
                assert!(runs_in_transaction, "{}", migration.name());
            }
        };
    }

    #[test]
    fn every_migration_can_be_printed() {
        crate::backend::databases!(check);
    }

    /// Their session and their search path are those of a transaction.
    #[test]
    fn every_migration_runs_in_a_transaction() {
        crate::backend::databases!(check_transactions);
    }
}
