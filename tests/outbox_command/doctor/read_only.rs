//! Sessions of MySQL and MariaDB that take no writes on a server that does.

use diesel::MysqlConnection;
use diesel::connection::{Connection, SimpleConnection};
use diesel_outbox::backend::Dialect;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::testing::LoopbackBroker;
use outbox_test_support::own::MariaDb;

use super::Doctor;
use crate::support;

#[test]
fn a_session_that_takes_no_writes_is_read_only() {
    let Some(database) = support::mysql::<MysqlConnection>() else {
        return;
    };
    let mut conn = MysqlConnection::establish(&database.url).unwrap();
    assert!(!conn.is_read_only().unwrap());
    conn.batch_execute("set session transaction read only")
        .unwrap();
    assert!(conn.is_read_only().unwrap());
}

#[test]
fn a_user_whose_sessions_take_no_writes_is_named() {
    let server = MariaDb::<MysqlConnection>::start();
    let database = server.database();
    let broker = LoopbackBroker::start().unwrap();
    let mut conn = MysqlConnection::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    let url = broker.url();
    let doctor = Doctor::of(&database.url, &url);
    doctor.run().only(&[]);
    server
        .admin()
        .batch_execute("set global init_connect = 'set session transaction read only'")
        .unwrap();
    let check = "database.writable";
    doctor
        .run()
        .has(check, "error", "the server or the session takes no writes")
        .has(
            check,
            "error",
            "turn off the setting `transaction_read_only`",
        );
}
