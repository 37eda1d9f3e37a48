//! What is saved in a transaction of the caller's: the model and its messages, or neither of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use diesel_outbox::schema::published;
use diesel_outbox::{Error, Message, Publish, Save};

use crate::{NewOrder, orders};

/// An order whose message is invalid if its total is negative.
#[derive(Debug, Clone, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/sales", key = Sale::key)]
struct Sale {
    id: i32,
    customer: String,
    total: i64,
}

impl Sale {
    fn key(&self) -> String {
        let length = if self.total < 0 { 1_000 } else { 1 };
        "k".repeat(length)
    }
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Sale)]
struct NewSale {
    customer: String,
    total: i64,
}

fn sale(total: i64) -> NewSale {
    NewSale {
        customer: "ann".to_owned(),
        total,
    }
}

macro_rules! suite {
    ($name:ident, $connection:ty, $connect:path) => {
        mod $name {
            use super::*;

            fn counts(conn: &mut $connection) -> (i64, i64) {
                (
                    orders::table.count().get_result(conn).unwrap(),
                    published::table.count().get_result(conn).unwrap(),
                )
            }

            #[test]
            fn a_model_is_never_committed_without_its_message() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let error = sale(-1).save(conn).unwrap_err();
                assert!(matches!(error, Error::Message(_)), "{error}");
                // The caller continues as if there was no error.
                conn.transaction(|conn| {
                    sale(1).save(conn)?;
                    let error = sale(-1).save(conn).unwrap_err();
                    assert!(matches!(error, Error::Message(_)), "{error}");
                    sale(2).save(conn)?;
                    Ok::<_, Error>(())
                })
                .unwrap();
                assert_eq!(counts(conn), (2, 2));
            }

            #[test]
            fn an_invalid_message_alone_spoils_nothing() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                conn.transaction(|conn| {
                    let sale = sale(1).save(conn)?;
                    let bad = Sale {
                        total: -1,
                        ..sale.clone()
                    };
                    assert!(diesel_outbox::publish(conn, &bad).is_err());
                    assert!(Message::new("", 1).publish(conn).is_err());
                    diesel_outbox::publish(conn, &sale)
                })
                .unwrap();
                assert_eq!(counts(conn), (1, 2));
            }

            /// On PostgreSQL more than 64 savepoints that write overflow a cache that all sessions read.
            #[test]
            fn one_statement_takes_no_savepoint() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let begun = Arc::new(AtomicUsize::new(0));
                let counted = Arc::clone(&begun);
                conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                    if matches!(event, InstrumentationEvent::BeginTransaction { .. }) {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                });
                conn.transaction(|conn| {
                    for total in 0..100 {
                        let sale = sale(total).save(conn)?;
                        diesel_outbox::publish(conn, &sale)?;
                        Message::new("/queue/a", 1).publish(conn)?;
                    }
                    Ok::<_, Error>(())
                })
                .unwrap();
                let savepoints = begun.load(Ordering::SeqCst) - 1;
                // One for each save, which is two statements.
                assert_eq!(savepoints, 100);
                assert_eq!(counts(conn), (100, 300));
                // One that is begun for a save is enough for its two messages.
                begun.store(0, Ordering::SeqCst);
                let order = NewOrder {
                    customer: "ann",
                    total: 1,
                }
                .save(conn)
                .unwrap();
                assert_eq!(begun.load(Ordering::SeqCst), 1);
                diesel_outbox::publish(conn, &order).unwrap();
                assert_eq!(begun.load(Ordering::SeqCst), 2);
                assert_eq!(counts(conn), (101, 304));
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
