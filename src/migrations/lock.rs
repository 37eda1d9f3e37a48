//! What keeps others out while tables are made or removed.

#[cfg(feature = "postgres")]
use std::time::{Duration, Instant};

#[cfg(any(feature = "postgres", feature = "mysql"))]
use diesel::connection::SimpleConnection;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use diesel::dsl::sql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use diesel::prelude::*;
#[cfg(feature = "postgres")]
use diesel::sql_types::Bool;
#[cfg(feature = "mysql")]
use diesel::sql_types::{Integer, Nullable, Text};

use super::MigrateError;
#[cfg(feature = "mysql")]
use super::TABLES;
#[cfg(feature = "postgres")]
use super::{adoption, search_path};
#[cfg(feature = "postgres")]
use crate::backend::lock_key;
#[cfg(feature = "postgres")]
use crate::current_schema::in_schema;

/// Services that start at the same moment all migrate: the second finds nothing left to do.
pub(super) trait OneAtATime: Sized {
    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError>;
}

#[cfg(feature = "postgres")]
impl OneAtATime for diesel::PgConnection {
    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        search_path::alone(self, |conn, schema| {
            let deadline = Instant::now() + PATIENCE;
            while !locked(conn, schema)? {
                if Instant::now() >= deadline {
                    return Err(MigrateError::Locked);
                }
                std::thread::sleep(PAUSE);
            }
            let outcome = work(conn);
            let released = unlock(conn, schema);
            let done = outcome?;
            released?;
            Ok(done)
        })
    }
}

/// Locks of the session, not of a transaction: a migration may have to run outside of one. Asked
/// for again and again: an index that is built concurrently would wait for whoever waits in a
/// statement.
#[cfg(feature = "postgres")]
fn locked(conn: &mut diesel::PgConnection, schema: &str) -> QueryResult<bool> {
    let ask = |conn: &mut _, lock: String| {
        diesel::select(sql::<Bool>(&format!("pg_try_advisory_lock{lock}"))).get_result::<bool>(conn)
    };
    if !ask(conn, format!("_shared({LOCK})"))? {
        return Ok(false);
    }
    let key = in_schema(schema, || lock_key(LOCK));
    let is_ours = ask(conn, format!("({key})"))?;
    if !is_ours {
        conn.batch_execute(&format!("select pg_advisory_unlock_shared({LOCK})"))?;
    }
    Ok(is_ours)
}

#[cfg(feature = "postgres")]
fn unlock(conn: &mut diesel::PgConnection, schema: &str) -> QueryResult<()> {
    let key = in_schema(schema, || lock_key(LOCK));
    conn.batch_execute(&format!(
        "select pg_advisory_unlock({key}), pg_advisory_unlock_shared({LOCK})"
    ))
}

#[cfg(feature = "sqlite")]
impl OneAtATime for diesel::SqliteConnection {
    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        self.immediate_transaction(work)
    }
}

#[cfg(feature = "mysql")]
impl OneAtATime for diesel::MysqlConnection {
    fn one_at_a_time<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        // Names of locks are the server's, not the database's.
        let locked: Option<i32> = diesel::select(sql::<Nullable<Integer>>(&format!(
            "get_lock({LOCK_NAME}, 600)"
        )))
        .get_result::<Option<i32>>(self)?;
        if locked != Some(1) {
            return Err(MigrateError::Locked);
        }
        let outcome = work(self);
        diesel::select(sql::<Nullable<Integer>>(&format!(
            "release_lock({LOCK_NAME})"
        )))
        .execute(self)?;
        outcome
    }
}

/// The name of MySQL's lock, which may have 64 characters.
#[cfg(feature = "mysql")]
const LOCK_NAME: &str = "concat('diesel-outbox-', md5(coalesce(database(), '')))";

/// How long to wait for another process that migrates, and how often to look.
#[cfg(feature = "postgres")]
const PATIENCE: Duration = Duration::from_secs(600);
#[cfg(feature = "postgres")]
const PAUSE: Duration = Duration::from_millis(100);

/// The advisory lock of a migration: "outboxmi" in ASCII. Versions that did not know the schema took
/// it alone, so that it is shared by those that take the one of their outbox.
#[cfg(feature = "postgres")]
const LOCK: i64 = 0x6f75_7462_6f78_6d69;

/// Keeps writers and relays away from the tables.
pub(super) trait Undisturbed: Sized {
    /// Whether a migration is reverted in a transaction of its own.
    const REVERTS_IN_TRANSACTION: bool = true;

    /// Runs work during which nobody else writes to the tables. If it fails, nothing was changed,
    /// except on MySQL and MariaDB.
    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError>;
}

#[cfg(feature = "postgres")]
impl Undisturbed for diesel::PgConnection {
    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        adoption::briefly_locked(self, work)
    }
}

#[cfg(feature = "sqlite")]
impl Undisturbed for diesel::SqliteConnection {
    fn undisturbed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        // The transaction of `one_at_a_time` writes alone.
        work(self)
    }
}

#[cfg(feature = "mysql")]
#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

#[cfg(feature = "mysql")]
impl Undisturbed for diesel::MysqlConnection {
    // A BEGIN would give up the locks, and DDL is in no transaction anyway.
    const REVERTS_IN_TRANSACTION: bool = false;

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
}
