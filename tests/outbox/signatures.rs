//! Everything that writes to the outbox signs, if there are keys.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel_outbox::schema::published;
use diesel_outbox::signing::{self, Keys};
use diesel_outbox::{Error, Message, Operation, Save};
use uuid::Uuid;

use crate::{NewOrder, NewParcel, Order, Parcel, orders};

fn keys() -> Keys {
    Keys::parse("a:0123456789abcdef").unwrap()
}

macro_rules! suite {
    ($name:ident, $connection:ty, $connect:path) => {
        mod $name {
            use super::*;

            /// The signatures of all rows, each of which is another one; then there are no rows.
            fn signatures(conn: &mut $connection) -> Vec<Option<String>> {
                let all: Vec<Option<String>> = published::table
                    .order(published::seq)
                    .select(published::signature)
                    .load(conn)
                    .unwrap();
                diesel::delete(published::table).execute(conn).unwrap();
                let different: HashSet<_> = all.iter().flatten().collect();
                assert_eq!(different.len(), all.iter().flatten().count());
                all
            }

            /// Checks that the work writes this number of rows, and signs all of them.
            fn signs<T>(
                conn: &mut $connection,
                count: usize,
                work: impl FnOnce(&mut $connection) -> Result<T, Error>,
            ) -> T {
                let result = signing::with_keys(&keys(), || work(conn)).unwrap();
                let all = signatures(conn);
                assert_eq!(all.len(), count);
                for signature in all {
                    let signature = signature.expect("a signature");
                    assert!(signature.starts_with("v1:a::"), "{signature}");
                }
                result
            }

            #[test]
            fn each_way_to_write_signs() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let new = NewOrder {
                    customer: "ann",
                    total: 12,
                };
                let order = signs(conn, 2, |conn| new.save(conn));
                let order = signs(conn, 2, |conn| order.save(conn));
                signs(conn, 2, |conn| diesel_outbox::publish(conn, &order));
                signs(conn, 2, |conn| Operation::Update.publish(conn, &order));
                signs(conn, 2, |conn| {
                    diesel_outbox::save(conn, |conn| orders::table.first::<Order>(conn))
                });
                signs(conn, 2, |conn| {
                    conn.transaction(|conn| order.clone().save(conn))
                });
                let parcel = NewParcel {
                    customer: "bob".into(),
                    total: 1,
                };
                let parcel: Parcel = signs(conn, 2, |conn| parcel.save(conn));
                signs(conn, 2, |conn| Operation::Delete.publish(conn, &parcel));
                signs(conn, 1, |conn| Message::new("/queue/a", 1).publish(conn));
                let message = || Message::new("/queue/a", 1).id(Uuid::from_u128(7));
                signs(conn, 1, |conn| message().publish_if_new(conn));
                signs(conn, 1, |conn| message().publish(conn));

                let message = Message::new("/queue/a", 1);
                message.publish(conn).unwrap();
                assert_eq!(signatures(conn), [None], "without keys");
            }

            #[test]
            fn a_delay_is_signed_as_the_row_has_it() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let message = Message::new("/queue/a", 1);
                let message = message.delay(std::time::Duration::from_nanos(3_600_000_000_999));
                signing::with_keys(&keys(), || message.publish(conn)).unwrap();
                let (due, signature) = published::table
                    .select((published::due_at, published::signature))
                    .first::<(diesel_outbox::schema::Moment, Option<String>)>(conn)
                    .unwrap();
                let expected = format!("v1:a:{}:", due.0.timestamp_micros());
                assert!(signature.unwrap().starts_with(&expected), "{expected}");
            }
        }
    };
}

#[cfg(feature = "sqlite")]
suite!(on_sqlite, SqliteConnection, crate::sqlite);
#[cfg(feature = "postgres")]
suite!(on_postgres, PgConnection, crate::postgres);
#[cfg(feature = "mysql")]
suite!(on_mysql, MysqlConnection, crate::mysql);

/// Statements that return rows, where Diesel has them.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
macro_rules! returning {
    ($name:ident, $connection:ty, $connect:path) => {
        #[test]
        fn $name() {
            use diesel_outbox::PublishDsl;

            let Some(mut db) = $connect() else { return };
            let conn: &mut $connection = &mut db.conn;
            let batch: Vec<_> = (0..3)
                .map(|n| (orders::customer.eq("ann"), orders::total.eq(n)))
                .collect();
            let orders: Vec<Order> = signing::with_keys(&keys(), || {
                diesel::insert_into(orders::table)
                    .values(&batch)
                    .returning(Order::as_returning())
                    .publish_all(conn)
            })
            .unwrap();
            assert_eq!(orders.len(), 3);
            let unsigned = published::table.filter(published::signature.is_null());
            assert_eq!(unsigned.count().get_result::<i64>(conn), Ok(0));
            assert_eq!(published::table.count().get_result::<i64>(conn), Ok(6));
        }
    };
}

#[cfg(feature = "sqlite")]
returning!(a_statement_signs_on_sqlite, SqliteConnection, crate::sqlite);
#[cfg(feature = "postgres")]
returning!(a_statement_signs_on_postgres, PgConnection, crate::postgres);

#[test]
fn the_keys_of_a_thread_precede_those_of_the_process() {
    let Some(mut db) = crate::sqlite() else {
        return;
    };
    let conn = &mut db.conn;
    let process = Keys::parse("process:0123456789abcdef").unwrap();
    let inner = Keys::parse("inner:0123456789abcdef").unwrap();
    let mut key = || {
        Message::new("/queue/a", 1).publish(conn).unwrap();
        let last = published::table.order(published::seq.desc());
        let signature = last.select(published::signature);
        let signature: Option<String> = signature.first(conn).unwrap();
        signature.map(|text| text.split(':').nth(1).unwrap().to_owned())
    };
    assert_eq!(key(), None);
    let key_is = |key: Option<String>, expected: &str| assert_eq!(key.as_deref(), Some(expected));
    signing::with_keys(&keys(), || {
        key_is(key(), "a");
        signing::with_keys(&inner, || key_is(key(), "inner"));
        let panicked = std::panic::catch_unwind(|| signing::with_keys(&process, || panic!("now")));
        assert!(panicked.is_err());
        key_is(key(), "a");
    });
    assert_eq!(key(), None);
}
