//! Settings of a MariaDB server that decide whether rows can be claimed.

use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::Message;
use diesel_outbox::admin;
use diesel_outbox::migrations::Migrate;

use super::own::MariaDb;
use super::support;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");

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
