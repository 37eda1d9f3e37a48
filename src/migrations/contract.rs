//! What each database supplies for its migrations.

use diesel::QueryResult;
use diesel::connection::SimpleConnection;
use diesel_migrations::EmbeddedMigrations;

use super::{MigrateError, Script};

/// How the tables are created and removed on one database.
pub(crate) trait MigrationDialect: SimpleConnection + Sized {
    /// The migrations.
    const SOURCE: EmbeddedMigrations;

    /// Their SQL.
    const SQL: &'static [Script];

    /// Whether a migration is reverted in its own transaction.
    const REVERTS_IN_TRANSACTION: bool = true;

    /// Runs work while no other process migrates: if services start at the same time, the second
    /// one finds nothing left to do.
    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError>;

    /// Runs statements in the session that has the lock, with names that mean the outbox's tables, and fails
    /// with [`MigrateError::Pooler`] if a pooler has assigned another session.
    fn checked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        work(self)
    }

    /// Runs work while no other session writes to the tables. If it fails, nothing was changed, except on
    /// MySQL and MariaDB.
    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError>;

    /// Whether a table of this name exists.
    fn has_table(&mut self, name: &str) -> QueryResult<bool>;

    /// Adopts tables that Django created. Returns false if there are none.
    fn adopt(&mut self) -> Result<bool, MigrateError> {
        Ok(false)
    }

    /// Restores the former shape of adopted tables. Refused if function calls wait or are parked, unless
    /// `is_forced` is set.
    fn restore(&mut self, _is_forced: bool) -> Result<(), MigrateError> {
        Ok(())
    }
}
