//! Messages with an id of the caller's: a write that is tried again is not a second message.

use diesel::prelude::*;
use diesel_outbox::admin;
use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::{Error, Message};
use serde_json::json;
use uuid::Uuid;

use crate::support::TestDatabase;

const ID: Uuid = Uuid::from_u128(0x5a3d_1c5e_0d4b_5b5e_8f00_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0x5a3d_1c5e_0d4b_5b5e_8f00_0000_0000_0002);

fn message(id: Uuid) -> Message {
    Message::new("/queue/a", json!({"id": id})).id(id)
}

fn migrated<C: Backend + Migrate>(database: &TestDatabase) -> C {
    let mut conn = C::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    conn
}

fn waiting<C: Backend>(conn: &mut C) -> i64 {
    admin::status(conn).unwrap().waiting
}

fn an_id_that_is_taken_is_told_and_the_transaction_goes_on<C: Backend + Migrate>(
    database: &TestDatabase,
) {
    let mut conn = migrated::<C>(database);
    assert_eq!(message(ID).publish(&mut conn).unwrap(), ID);
    let taken = message(ID).publish(&mut conn).unwrap_err();
    assert!(matches!(taken, Error::IdTaken(id) if id == ID), "{taken:?}");
    conn.transaction(|conn| {
        let taken = message(ID).publish(conn).unwrap_err();
        assert!(matches!(taken, Error::IdTaken(id) if id == ID), "{taken:?}");
        assert!(!message(ID).publish_if_new(conn)?);
        assert!(message(OTHER).publish_if_new(conn)?);
        assert!(!message(OTHER).publish_if_new(conn)?);
        Message::new("/queue/a", 1).publish(conn)?;
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(waiting(&mut conn), 3);
    // Whatever has become of it.
    conn.batch_execute("update published set status = 2")
        .unwrap();
    assert!(!message(ID).publish_if_new(&mut conn).unwrap());
    // Another mistake is not taken for it.
    let long = message(Uuid::new_v4()).key("k".repeat(256));
    assert!(long.publish_if_new(&mut conn).is_err());
    conn.batch_execute("delete from published").unwrap();
    assert!(message(ID).publish_if_new(&mut conn).unwrap());
}

fn what_was_rolled_back_did_not_take_its_id<C: Backend + Migrate>(database: &TestDatabase) {
    let mut conn = migrated::<C>(database);
    let undone = conn.transaction(|conn| {
        assert!(message(ID).publish_if_new(conn)?);
        Err::<(), Error>(diesel::result::Error::RollbackTransaction.into())
    });
    assert!(undone.is_err());
    assert!(message(ID).publish_if_new(&mut conn).unwrap());
}

/// Two requests at the same time: one of them writes.
fn of_two_writers_one_writes<C: Backend + Migrate>(database: &TestDatabase) {
    let mut conn = migrated::<C>(database);
    let write = |url: String| {
        std::thread::spawn(move || {
            let mut conn = C::establish(&url).unwrap();
            message(ID).publish_if_new(&mut conn).unwrap()
        })
    };
    let mut second = None;
    conn.transaction(|conn| {
        assert!(message(ID).publish_if_new(conn)?);
        second = Some(write(database.url.clone()));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!second.as_ref().unwrap().is_finished(), "it waits");
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(!second.unwrap().join().unwrap());
    assert_eq!(waiting(&mut conn), 1);
}

/// The program's own migrations were not run.
fn a_missing_table_is_told_with_what_to_do<C: Backend + Migrate>(database: &TestDatabase) {
    let mut conn = C::establish(&database.url).unwrap();
    let error = Message::new("/queue/a", 1).publish(&mut conn).unwrap_err();
    assert!(matches!(error, Error::Tables(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("run `outbox migrate`"), "{text}");
    assert!(text.contains("published"), "{text}");
}

macro_rules! on_each_database {
    ($($case:ident),* $(,)?) => {
        on_each_database!(@ "mysql", mysql, diesel::MysqlConnection, crate::support::mysql::<diesel::MysqlConnection>(); $($case),*);
        on_each_database!(@ "postgres", postgres, diesel::PgConnection, crate::support::postgres::<diesel::PgConnection>(); $($case),*);
        on_each_database!(@ "sqlite", sqlite, diesel::SqliteConnection, Some(crate::support::sqlite::<diesel::SqliteConnection>()); $($case),*);
    };
    (@ $feature:literal, $module:ident, $connection:ty, $open:expr; $($case:ident),*) => {
        #[cfg(feature = $feature)]
        mod $module {
            $(#[test]
            fn $case() {
                let Some(database) = $open else { return };
                super::$case::<$connection>(&database);
            })*
        }
    };
}

on_each_database!(
    an_id_that_is_taken_is_told_and_the_transaction_goes_on,
    what_was_rolled_back_did_not_take_its_id,
    a_missing_table_is_told_with_what_to_do,
);

#[cfg(feature = "postgres")]
#[test]
fn of_two_writers_on_postgres_one_writes() {
    if let Some(database) = crate::support::postgres::<diesel::PgConnection>() {
        of_two_writers_one_writes::<PgConnection>(&database);
    }
}

#[cfg(feature = "mysql")]
#[test]
fn of_two_writers_on_mysql_one_writes() {
    if let Some(database) = crate::support::mysql::<diesel::MysqlConnection>() {
        of_two_writers_one_writes::<MysqlConnection>(&database);
    }
}
