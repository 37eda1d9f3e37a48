//! Settings of a MariaDB server: its binary log, with which no row can be claimed, and time limits.

use std::process::Command;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::Message;
use diesel_outbox::admin;
use diesel_outbox::migrations::Migrate;

use super::counts::Counts;
use super::own::MariaDb;
use super::program::{Place, Program, wait_until};
use super::support;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");

#[test]
fn a_binary_log_of_statements_is_an_error_at_the_start() {
    let Some(broker) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let server = MariaDb::<MysqlConnection>::start_with(&[
        "--log-bin",
        "--binlog-format=STATEMENT",
        "--server-id=1",
    ]);
    let mut conn = server.admin();
    conn.batch_execute("create database outbox; use outbox")
        .unwrap();
    let url = server.url("root", "outbox");
    conn.migrate().unwrap();
    let write = |conn: &mut MysqlConnection| {
        Message::new("/topic/outbox-test-settings", 1)
            .publish(conn)
            .unwrap();
    };
    write(&mut conn);
    let publish = |arguments: &[&str]| {
        let output = Command::new(PUBLISH)
            .args(arguments)
            .env("DATABASE_URL", &url)
            .env("STOMP_URL", &broker)
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), log)
    };
    for arguments in [&[][..], &["--once"]] {
        let (code, log) = publish(arguments);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("set binlog_format = ROW or MIXED"), "{log}");
    }
    // The programs' other statements work there, and so do relays once the setting is changed.
    conn.batch_execute("set global binlog_format = 'MIXED', global tx_isolation = 'SERIALIZABLE'")
        .unwrap();
    let (code, log) = publish(&["--once"]);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(admin::totals(&mut conn).unwrap().sent, 1);
}

/// Where the programs of a test run that has a server of its own.
struct Own {
    url: String,
    broker: String,
}

impl Place for Own {
    fn database_url(&self) -> &str {
        &self.url
    }

    fn broker_url(&self) -> &str {
        &self.broker
    }
}

/// An administrator's connection to a new outbox, and the programs' place, as the user `shop`.
fn own(server: &MariaDb<MysqlConnection>, broker: String) -> (MysqlConnection, Own) {
    let mut admin = server.admin();
    admin
        .batch_execute(
            "create database outbox; use outbox; create user shop@'%' identified by 'x';
             grant all on outbox.* to shop@'%'",
        )
        .unwrap();
    let url = server.url("shop:x", "outbox");
    // With the sessions' settings as they are.
    let mut shop = MysqlConnection::establish(&url).unwrap();
    shop.migrate().unwrap();
    drop(shop);
    (admin, Own { url, broker })
}

/// What `init_connect` sets, or the server for all sessions and tables, concerns none of the programs' statements: each
/// is committed, and reads all rows.
#[test]
fn what_the_server_sets_for_all_sessions_changes_nothing() {
    const ROWS: usize = 60;
    let Some(broker) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let server = MariaDb::<MysqlConnection>::start_with(&[
        // Keys of such tables have at most 767 bytes.
        "--innodb-default-row-format=compact",
        // For users without the right to administer.
        "--init-connect=set autocommit = 0, completion_type = 'CHAIN', sql_select_limit = 1",
    ]);
    let (mut admin, place) = own(&server, broker);
    assert!(
        admin.migrate().unwrap().is_empty(),
        "all that was run is recorded"
    );
    // With this MariaDB refuses a service's own queries, too.
    admin
        .batch_execute("set global init_connect = concat(@@init_connect, ', max_join_size = 1')")
        .unwrap();
    let name = format!("outbox-test-{}", uuid::Uuid::new_v4().simple());
    let topic = format!("/topic/{name}");
    let arguments = ["exec:/bin/true", &topic, &name];
    let mut subscriber = Program::start(&place, SUBSCRIBE, &arguments);
    subscriber.wait_for_line("subscribed");
    for n in 0..ROWS {
        Message::new(topic.as_str(), n).publish(&mut admin).unwrap();
    }
    let mut relay = Program::start(&place, PUBLISH, &["--once"]);
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    wait_until("all are received", || {
        Counts::of(&mut admin).received == ROWS as i64
    });
    assert_eq!(Counts::of(&mut admin).sent, ROWS as i64);
    subscriber.signal("TERM");
    assert!(subscriber.ended().success(), "{:#?}", subscriber.lines());
}

/// A relay and a subscriber run into a time limit that an administrator has set for their user, again and again, until
/// the tables are free.
#[test]
fn a_time_limit_of_the_user_charges_no_attempt() {
    const ROWS: usize = 20;
    const AWAY: &str = "the database is not available; retrying";

    let Some(broker) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let server = MariaDb::<MysqlConnection>::start();
    let (mut admin, place) = own(&server, broker);
    admin
        .batch_execute("alter user shop@'%' with max_statement_time 0.5")
        .unwrap();
    let name = format!("outbox-test-{}", uuid::Uuid::new_v4().simple());
    let topic = format!("/topic/{name}");
    let write = |conn: &mut MysqlConnection| {
        for n in 0..ROWS {
            Message::new(topic.as_str(), n).publish(conn).unwrap();
        }
    };
    let all = |conn: &mut MysqlConnection, rows: usize| {
        wait_until("all are sent and received", || {
            let counts = Counts::of(conn);
            (counts.sent, counts.received) == (rows as i64, rows as i64)
        });
    };
    let lock = |table: &str| {
        let mut conn = MysqlConnection::establish(&server.url("root", "outbox")).unwrap();
        conn.batch_execute(&format!("lock tables {table} write"))
            .unwrap();
        conn
    };
    let mut subscriber = Program::start(&place, SUBSCRIBE, &["store", &topic, &name]);
    subscriber.wait_for_line("subscribed");
    write(&mut admin);
    let other = lock("published");
    let mut relay = Program::start(&place, PUBLISH, &[]);
    let line = relay.wait_for_line(AWAY);
    assert!(line.contains("max_statement_time"), "{line}");
    drop(other);
    all(&mut admin, ROWS);
    let other = lock("received");
    write(&mut admin);
    subscriber.wait_for_line(AWAY);
    // More attempts than `callback_attempts` would fail in this time.
    std::thread::sleep(Duration::from_secs(8));
    drop(other);
    all(&mut admin, 2 * ROWS);
    for program in [&mut relay, &mut subscriber] {
        program.signal("TERM");
        assert!(program.ended().success(), "{:#?}", program.lines());
    }
    let log = subscriber.lines().join("\n");
    assert!(log.contains("dead=0"), "{log}");
}
