//! Time limits that an administrator has set for all sessions of a database.

use std::process::Command;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::World;
use super::program::{Program, wait_until};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
/// Long enough for the statements of this test.
const VALUE: &str = "500ms";
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

/// The limits that the server has.
fn limits(world: &World) -> Vec<&'static str> {
    let version = number(world, "current_setting('server_version_num')");
    let mut limits = vec!["statement_timeout"];
    if version >= 170_000 {
        limits.push("transaction_timeout");
    }
    limits
}

fn number(world: &World, from: &str) -> i64 {
    let number = format!("cast({from} as bigint)");
    diesel::select(diesel::dsl::sql::<BigInt>(&number))
        .get_result(&mut world.connect())
        .unwrap()
}

/// Sets the limit for sessions that are opened from now on.
fn set(world: &World, limit: &str, value: &str) {
    let database = world.database.url.rsplit_once('/').unwrap().1;
    world
        .connect()
        .batch_execute(&format!(
            "alter database \"{database}\" set {limit} = '{value}'"
        ))
        .unwrap();
}

/// A session without limits that has locked a table.
fn lock(world: &World, table: &str) -> PgConnection {
    let mut conn = world.connect();
    conn.batch_execute("set statement_timeout = 0").unwrap();
    let _ = conn.batch_execute("set transaction_timeout = 0");
    conn.batch_execute(&format!(
        "begin; lock table {table} in access exclusive mode"
    ))
    .unwrap();
    conn
}

/// A relay and a subscriber that run into a limit again and again, until the tables are free.
#[test]
fn a_time_limit_of_the_database_charges_no_attempt() {
    const ROWS: usize = 20;
    const AWAY: &str = "the database is not available; retrying";

    let Some(first) = World::new() else { return };
    for limit in limits(&first) {
        let world = World::new().unwrap();
        set(&world, limit, VALUE);
        let arguments = ["store", &world.topic(), &world.name];
        let mut subscriber = Program::start(&world, SUBSCRIBE, &arguments);
        subscriber.wait_for_line("subscribed");
        let all = |rows: i64| {
            wait_until("all are sent and received", || {
                let counts = world.counts();
                (counts.sent, counts.received) == (rows, rows)
            });
        };
        world.write(ROWS);
        let mut other = lock(&world, "published");
        let mut relay = Program::start(&world, PUBLISH, &[]);
        let line = relay.wait_for_line(AWAY);
        // libpq may say only that the session has ended.
        let reasons = [
            format!("due to {}", limit.replace('_', " ")),
            "server closed the connection".to_owned(),
        ];
        assert!(reasons.iter().any(|it| line.contains(it)), "{line}");
        other.batch_execute("commit").unwrap();
        all(ROWS as i64);
        let mut other = lock(&world, "received");
        world.write(ROWS);
        subscriber.wait_for_line(AWAY);
        // More attempts than `callback_attempts` would fail in this time.
        std::thread::sleep(Duration::from_secs(8));
        other.batch_execute("commit").unwrap();
        all(2 * ROWS as i64);
        assert_eq!(number(&world, "(select max(retry) from published)"), 0);
        assert_eq!(number(&world, "(select max(retry) from received)"), 0);
        for program in [&mut relay, &mut subscriber] {
            program.signal("TERM");
            assert!(program.ended().success(), "{:#?}", program.lines());
        }
        let log = subscriber.lines().join("\n");
        assert!(log.contains("dead=0"), "{log}");
    }
}

#[test]
fn a_migration_that_the_server_ends_names_the_limit() {
    let Some(world) = World::new() else { return };
    let migrate = |arguments: &[&str], options: &str| {
        let output = Command::new(OUTBOX)
            .arg("migrate")
            .args(arguments)
            .env("DATABASE_URL", &world.database.url)
            .env("PGOPTIONS", options)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for limit in limits(&world) {
        set(&world, limit, VALUE);
        // A table lock of the migration, and a statement of one: the index is built while a writer works.
        let undo = "drop index published_parked, outbox_calls_parked;
            delete from outbox_migrations where version like '20261128000007%'";
        for arguments in [&["--revert"][..], &[]] {
            if arguments.is_empty() {
                world.connect().batch_execute(undo).unwrap();
            }
            let mut other = lock(&world, "published");
            let (code, log) = migrate(arguments, "");
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains(&format!("{limit} is {VALUE}")), "{log}");
            assert!(log.contains(&format!("PGOPTIONS='-c {limit}=0'")), "{log}");
            // As it says.
            let (code, log) = std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_secs(1));
                    other.batch_execute("commit").unwrap();
                });
                migrate(arguments, &format!("-c {limit}=0"))
            });
            assert_eq!(code, Some(0), "{log}");
            let (code, log) = migrate(&[], &format!("-c {limit}=0"));
            assert_eq!(code, Some(0), "{log}");
        }
        set(&world, limit, "0");
    }
    let locks = "(select count(*) from pg_locks l join pg_database d on d.oid = l.database
        where l.locktype = 'advisory' and d.datname = current_database())";
    assert_eq!(number(&world, locks), 0);
}
