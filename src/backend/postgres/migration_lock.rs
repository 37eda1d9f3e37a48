//! The lock of a migration on PostgreSQL, and the session that has it.
//!
//! It is a lock of the session, not of a transaction: an index is built concurrently outside of a transaction.
//! A pooler in transaction mode may run each transaction in another session, so each one checks the lock.

use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::qualify::lock_key;
use crate::migrations::MigrateError;

/// How long to wait for another migrating process, and how often to check. It polls for the lock: an index
/// that is built concurrently would wait for a session that waits in a statement.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(100);

/// How long to try to get the session that has the lock from a pooler, and the pause between two attempts.
const SEARCH: Duration = Duration::from_secs(5);
const SEARCH_PAUSE: Duration = Duration::from_millis(5);

/// The advisory lock of a migration: "outboxmi" in ASCII. Versions that did not know the schema took
/// only this lock, so migrations with the lock of one outbox take it shared.
const LOCK: i64 = 0x6f75_7462_6f78_6d69;

/// Waits for the lock.
pub(super) fn acquire(conn: &mut PgConnection) -> Result<(), MigrateError> {
    let deadline = Instant::now() + PATIENCE;
    let key = lock_key(LOCK);
    // One statement, so that both locks are in one session.
    let question = format!(
        "case when not pg_try_advisory_lock_shared({LOCK}) then false
            when pg_try_advisory_lock({key}) then true
            else not pg_advisory_unlock_shared({LOCK}) end"
    );
    while !conn.transaction(|conn| ask(conn, &question))? {
        if Instant::now() >= deadline {
            return Err(MigrateError::Locked);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Fails if this transaction does not run in the session that has the lock.
pub(super) fn check(conn: &mut PgConnection) -> Result<(), MigrateError> {
    if ask(conn, &is_held())? {
        Ok(())
    } else {
        Err(MigrateError::Pooler)
    }
}

/// Releases the lock, in whichever session it is.
pub(super) fn release(conn: &mut PgConnection) -> Result<(), MigrateError> {
    let key = lock_key(LOCK);
    in_its_session(conn, |conn| {
        let question = format!("pg_advisory_unlock({key}) and pg_advisory_unlock_shared({LOCK})");
        ask(conn, &question).map(drop)
    })
}

/// Runs work in a transaction of the session that has the lock. With a pooler it begins transactions until
/// one of them is in that session, for 5 seconds.
pub(super) fn in_its_session(
    conn: &mut PgConnection,
    mut work: impl FnMut(&mut PgConnection) -> QueryResult<()>,
) -> Result<(), MigrateError> {
    let deadline = Instant::now() + SEARCH;
    loop {
        let done = conn.transaction(|conn| {
            check(conn)?;
            Ok(work(conn)?)
        });
        match done {
            Err(MigrateError::Pooler) if Instant::now() < deadline => {
                std::thread::sleep(SEARCH_PAUSE);
            }
            done => return done,
        }
    }
}

/// An SQL condition: whether this session has the lock.
fn is_held() -> String {
    format!(
        "exists (select 1 from pg_locks
            where locktype = 'advisory' and pid = pg_backend_pid() and objsubid = 1
                and classid::bigint << 32 | objid::bigint = {} and granted)",
        lock_key(LOCK)
    )
}

fn ask(conn: &mut PgConnection, question: &str) -> QueryResult<bool> {
    diesel::select(sql::<Bool>(question)).get_result(conn)
}
