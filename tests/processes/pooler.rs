//! PgBouncer between the programs and PostgreSQL.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;
use diesel_outbox::Message;
use diesel_outbox::migrations::{Migrate, MigrateError};

use super::World;
use super::listener::Listener;
use super::own::PgBouncer;
use super::program::{Program, wait_until};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

/// The first version that has `max_prepared_statements`, and the first whose default is not 0.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);
const KEEPS_BY_DEFAULT: (u32, u32) = (1, 24);

/// Fails if a session of the server is not as it was opened.
const UNCHANGED: &str = "do $$ begin
    if current_setting('statement_timeout') <> '0'
        or current_setting('lock_timeout') <> '0'
        or current_setting('default_transaction_isolation') <> 'read committed'
        or current_setting('search_path') <> '\"$user\", public'
        or exists (select 1 from pg_prepared_statements)
    then raise 'a session is not as it was'; end if;
    end $$";

/// The number of advisory locks in the database.
const LOCKS: &str = "(select count(*) from pg_locks l join pg_database d on d.oid = l.database
    where l.locktype = 'advisory' and d.datname = current_database())";

/// A PgBouncer before the world's server, and the address of the world's database through it.
fn pooler(world: &World, settings: &str) -> (PgBouncer, String) {
    let (place, database) = world.database.url.rsplit_once('/').unwrap();
    let server = place.rsplit_once(['@', '/']).unwrap().1;
    let pooler = PgBouncer::start(server, settings);
    let url = pooler.url(database);
    (pooler, url)
}

/// The exit of a program that cannot continue, and its log.
fn run(world: &World, url: &str, path: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(path)
        .args(arguments)
        .env("DATABASE_URL", url)
        .env("STOMP_URL", &world.broker)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

#[test]
fn a_pool_in_transaction_mode_is_refused() {
    let Some(world) = World::new() else { return };
    let (_pooler, url) = pooler(&world, "pool_mode = transaction\ndefault_pool_size = 4");
    let refused = |path: &str, arguments: &[&str]| {
        let (code, log) = run(&world, &url, path, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {log}");
        let expected = "a pooler in transaction mode";
        assert!(log.contains(expected), "{arguments:?}: {log}");
        assert!(
            log.contains("use the address of the server itself"),
            "{log}"
        );
    };
    let programs = || {
        refused(PUBLISH, &[]);
        refused(PUBLISH, &["--once"]);
        refused(SUBSCRIBE, &["log", &world.topic(), &world.name]);
        refused(OUTBOX, &["migrate"]);
        refused(OUTBOX, &["status"]);
    };
    programs();
    // Also beside other clients that use the sessions in turn.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut conn = PgConnection::establish(&url).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    conn.batch_execute("begin; select 1; commit").unwrap();
                }
            });
        }
        for _ in 0..4 {
            programs();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // Nothing of ours is left in the sessions that other clients use.
    let mut conn = PgConnection::establish(&url).unwrap();
    for _ in 0..20 {
        conn.batch_execute(UNCHANGED).unwrap();
    }
    assert_eq!(world.counts(), Default::default());
}

/// Several services write through a pool in transaction mode, and a relay sends on the server itself.
fn what_is_written_is_sent_once(world: &World, settings: &str, cache: CacheSize) {
    const THREADS: i64 = 4;
    const ROWS: i64 = 60;

    let settings = format!("pool_mode = transaction\ndefault_pool_size = 2\n{settings}");
    let (_pooler, url) = pooler(world, &settings);
    let listener = Listener::new(world);
    let mut relay = Program::start(world, PUBLISH, &[]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (url, topic) = (&url, world.topic());
            scope.spawn(move || {
                let mut conn = PgConnection::establish(url).unwrap();
                conn.set_prepared_statement_cache_size(cache);
                for n in 0..ROWS {
                    let message = || Message::new(&topic, n).key(format!("k{thread}"));
                    if n % 3 == 0 {
                        message().publish(&mut conn).unwrap();
                        continue;
                    }
                    conn.transaction(|conn| message().publish(conn)).unwrap();
                    let rolled_back = conn.transaction(|conn| {
                        message().publish(conn)?;
                        Err::<(), diesel_outbox::Error>(
                            diesel::result::Error::RollbackTransaction.into(),
                        )
                    });
                    assert!(rolled_back.is_err());
                    let cancelled = conn.transaction(|conn| {
                        let id = message().publish(conn)?;
                        diesel_outbox::cancel(conn, id)
                    });
                    assert!(cancelled.unwrap());
                }
            });
        }
    });
    let all = usize::try_from(THREADS * ROWS).unwrap();
    listener.wait_for(all);
    wait_until("all are settled", || world.counts().waiting == 0);
    assert_eq!((listener.messages(), listener.duplicates()), (all, 0));
    relay.signal("TERM");
    assert!(relay.ended().success(), "{:#?}", relay.lines());
}

/// As docs/databases.md says: without prepared statements on each version, with them on a version that keeps them.
#[test]
fn what_is_written_through_a_pool_is_sent_once() {
    let mut cases = vec![("", CacheSize::Disabled)];
    let Some(mut world) = World::new() else {
        return;
    };
    let version = PgBouncer::version();
    if version >= KEEPS_STATEMENTS {
        let cache = CacheSize::Unbounded;
        cases.push(("max_prepared_statements = 200", cache));
        // With room for one statement it prepares them again and again.
        cases.push(("max_prepared_statements = 1", cache));
    }
    if version >= KEEPS_BY_DEFAULT {
        cases.push(("", CacheSize::Unbounded));
    }
    for (settings, cache) in cases {
        what_is_written_is_sent_once(&world, settings, cache);
        world = World::new().unwrap();
    }
}

/// Two clients of one session: Diesel gives their statements the same names.
#[test]
fn prepared_statements_that_a_pool_does_not_keep_are_errors() {
    let Some(world) = World::new() else { return };
    let off = if PgBouncer::version() >= KEEPS_STATEMENTS {
        "max_prepared_statements = 0"
    } else {
        ""
    };
    let settings = format!("pool_mode = transaction\ndefault_pool_size = 1\n{off}");
    let (_pooler, url) = pooler(&world, &settings);
    let publish = |conn: &mut PgConnection| Message::new(world.topic(), 1).publish(conn);
    let [mut one, mut other] = [(); 2].map(|()| PgConnection::establish(&url).unwrap());
    publish(&mut one).unwrap();
    let error = publish(&mut other).unwrap_err().to_string();
    let expected = ["prepared statement \"__diesel_stmt_", "\" already exists"];
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    assert_eq!(world.counts().waiting, 1);
}

#[test]
fn a_pool_in_session_mode_serves() {
    const ROWS: usize = 300;

    let Some(world) = World::bare() else { return };
    let (_pooler, url) = pooler(&world, "pool_mode = session\ndefault_pool_size = 40");
    let (code, log) = run(&world, &url, OUTBOX, &["migrate"]);
    assert_eq!(code, Some(0), "{log}");
    let start = |path: &str, arguments: &[&str]| {
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env("DATABASE_URL", &url)
            .env("STOMP_URL", &world.broker)
            .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000")
            .env("OUTBOX_DEAD_LETTER_HEADERS", "x-expires:600000");
        Program::spawn(&mut command)
    };
    let mut subscriber = start(SUBSCRIBE, &["store", &world.topic(), &world.name]);
    subscriber.wait_for_line("subscribed");
    let listener = Listener::new(&world);
    let mut relays = [start(PUBLISH, &[]), start(PUBLISH, &[])];
    world.write(ROWS);
    listener.wait_for(ROWS);
    wait_until("all are settled", || world.counts().sent == ROWS as i64);
    wait_until("all are received", || {
        world.counts().received == ROWS as i64
    });
    assert_eq!(listener.duplicates(), 0);
    for program in relays.iter_mut().chain([&mut subscriber]) {
        program.signal("TERM");
        assert!(program.ended().success(), "{:#?}", program.lines());
    }
}

/// `Migrate` has one connection only, and cannot detect a pooler.
#[test]
fn a_migration_that_loses_its_session_makes_no_table_elsewhere() {
    const ROUNDS: usize = 10;

    let Some(world) = World::bare() else { return };
    let (_pooler, url) = pooler(&world, "pool_mode = transaction\ndefault_pool_size = 8");
    let mut direct = world.connect();
    direct.batch_execute("create schema tenant").unwrap();
    let mut number = |from: &str| {
        let count = diesel::dsl::sql::<diesel::sql_types::BigInt>(from);
        diesel::select(count).get_result::<i64>(&mut direct)
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut conn = PgConnection::establish(&url).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    conn.batch_execute("begin; select 1; commit").unwrap();
                }
            });
        }
        let over = Over(&is_over);
        let mut conn = PgConnection::establish(&url).unwrap();
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        for round in 0..ROUNDS {
            let done = diesel_outbox::in_schema("tenant", || match round % 2 {
                0 => conn.migrate(),
                _ => conn.revert(),
            });
            assert!(
                matches!(done, Ok(_) | Err(MigrateError::Pooler)),
                "{done:?}"
            );
            assert_eq!(number(LOCKS), Ok(0), "a lock is left: {done:?}");
        }
        drop(over);
    });
    let elsewhere = "(select count(*) from pg_tables where schemaname = 'public')";
    assert_eq!(number(elsewhere), Ok(0));
    let mut conn = PgConnection::establish(&url).unwrap();
    for _ in 0..20 {
        conn.batch_execute(UNCHANGED).unwrap();
    }
}

/// Ends the other clients, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
