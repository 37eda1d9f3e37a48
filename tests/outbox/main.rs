//! From a model to rows in `published`, on each database, with one suite for all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

#[cfg(feature = "postgres")]
mod aborted;
mod ids;
#[cfg(feature = "mysql")]
mod mysql_keys;
#[cfg(feature = "postgres")]
mod postgres_types;
mod signatures;
mod transactions;

use outbox_test_support as support;

use diesel::prelude::*;
use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::schema::{Document, Moment, published};
use diesel_outbox::{Error, Message, Operation, Publish, Save};
use serde_json::json;

diesel::table! {
    orders (id) {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(customer, total), version = "v1")]
#[publish(destination = "/topic/orders.audit", serializer = Order::audit, key = id)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

impl Order {
    fn audit(&self) -> serde_json::Value {
        json!({"order": self.id})
    }
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder<'a> {
    customer: &'a str,
    total: i64,
}

/// The orders again, with other messages.
#[derive(Debug, Clone, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(
    destination = "/topic/parcels",
    operation_header = "operation",
    headers = Parcel::headers,
    stream = "billing",
    expires_in = "15m"
)]
#[publish(destination = "/topic/parcels.new", on = insert, fields(id))]
#[publish(destination = "/topic/parcels.old", on = update | delete, fields(id))]
struct Parcel {
    id: i32,
    customer: String,
    total: i64,
}

impl Parcel {
    fn headers(&self) -> [(&'static str, String); 1] {
        [("x-customer", self.customer.clone())]
    }
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Parcel)]
struct NewParcel {
    customer: String,
    total: i64,
}

macro_rules! suite {
    ($name:ident, $connection:ty, $connect:path) => {
        mod $name {
            use super::*;

            fn rows(conn: &mut $connection) -> Vec<(String, Option<String>, Document)> {
                published::table
                    .order(published::seq)
                    .select((published::destination, published::key, published::body))
                    .load(conn)
                    .unwrap()
            }

            #[test]
            fn a_save_writes_the_row_and_its_messages() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let new = NewOrder { customer: "ann", total: 12 };
                let mut order = new.save(conn).unwrap();
                order.total = 13;
                let order = order.save(conn).unwrap();
                assert_eq!(orders::table.first::<Order>(conn).unwrap(), order);
                let id = order.id;
                let key = Some(id.to_string());
                let body = |total| Document(json!({"id": id, "customer": "ann", "total": total}));
                let audit = (
                    "/topic/orders.audit".to_owned(),
                    key,
                    Document(json!({"order": id})),
                );
                assert_eq!(
                    rows(conn),
                    [
                        ("/topic/orders.v1".to_owned(), None, body(12)),
                        audit.clone(),
                        ("/topic/orders.v1".to_owned(), None, body(13)),
                        audit,
                    ]
                );
            }

            #[test]
            fn what_is_rolled_back_was_never_written() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let outcome = conn.transaction(|conn| {
                    NewOrder { customer: "ann", total: 1 }.save(conn)?;
                    Err::<(), Error>(diesel::result::Error::RollbackTransaction.into())
                });
                assert!(outcome.is_err());
                assert_eq!(orders::table.count().get_result(conn), Ok(0_i64));
                assert_eq!(rows(conn), []);
            }

            #[test]
            fn an_invalid_message_takes_the_business_write_with_it() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let outcome = diesel_outbox::save(conn, |conn| {
                    diesel::insert_into(orders::table)
                        .values((orders::customer.eq("ann"), orders::total.eq(1)))
                        .execute(conn)?;
                    Message::new("", 1).publish(conn)?;
                    Ok::<_, Error>(Order { id: 1, customer: String::new(), total: 0 })
                });
                assert!(matches!(outcome, Err(Error::Message(_))), "{outcome:?}");
                assert_eq!(orders::table.count().get_result(conn), Ok(0_i64));
            }

            #[test]
            fn a_failed_save_leaves_the_callers_transaction_usable() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                conn.transaction(|conn| {
                    let twice = diesel_outbox::save(conn, |conn| {
                        let insert = || {
                            diesel::insert_into(orders::table)
                                .values((orders::id.eq(7), orders::customer.eq("a"), orders::total.eq(1)))
                        };
                        insert().execute(conn)?;
                        insert().execute(conn)?;
                        orders::table.find(7).first::<Order>(conn)
                    });
                    assert!(twice.is_err());
                    NewOrder { customer: "bob", total: 2 }.save(conn)?;
                    Ok::<_, Error>(())
                })
                .unwrap();
                assert_eq!(rows(conn).len(), 2);
            }

            #[test]
            fn a_message_without_a_model_carries_its_headers() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let id = Message::new("/queue/mail", json!({"some": "data"}))
                    .header("x", "y")
                    .publish(conn)
                    .unwrap();
                let (headers, status, retry) = published::table
                    .select((published::headers, published::status, published::retry))
                    .first::<(Document, i32, i32)>(conn)
                    .unwrap();
                assert_eq!(headers.0["x"], "y");
                assert_eq!(headers.0["dop-msg-id"], id.to_string());
                assert_eq!((status, retry), (1, 0));
            }

            #[test]
            fn a_pooled_connection_saves_as_a_plain_one_does() {
                use diesel::r2d2::{ConnectionManager, Pool};
                let Some(db) = $connect() else { return };
                let pool = Pool::builder()
                    .max_size(1)
                    .build(ConnectionManager::<$connection>::new(&db.database.url))
                    .unwrap();
                let mut conn = pool.get().unwrap();
                let order = NewOrder { customer: "ann", total: 1 };
                let order = order.save(&mut conn).unwrap();
                diesel_outbox::publish(&mut conn, &order).unwrap();
                Message::new("/queue/mail", 1).publish(&mut conn).unwrap();
                assert_eq!(rows(&mut conn).len(), 5);
            }

            #[test]
            fn messages_know_what_was_done() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                // The ends of the destinations, and the operations, of what was just written.
                let written = |conn: &mut $connection| -> Vec<(String, Option<String>)> {
                    let rows: Vec<(String, Document)> = published::table
                        .order(published::seq)
                        .select((published::destination, published::headers))
                        .load(conn)
                        .unwrap();
                    diesel::delete(published::table).execute(conn).unwrap();
                    rows.into_iter()
                        .map(|(destination, headers)| {
                            let operation = headers.0["operation"].as_str();
                            (destination.replace("/topic/parcels", ""), operation.map(str::to_owned))
                        })
                        .collect()
                };
                let expect = |all: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
                    let owned = all.iter();
                    owned.map(|(end, done)| ((*end).to_owned(), done.map(str::to_owned))).collect()
                };
                let new = NewParcel { customer: "ann".into(), total: 1 };
                let parcel = new.save(conn).unwrap();
                assert_eq!(written(conn), expect(&[("", Some("insert")), (".new", None)]));
                let parcel = parcel.save(conn).unwrap();
                assert_eq!(written(conn), expect(&[("", Some("update")), (".old", None)]));
                Operation::Delete.save(conn, |conn| {
                    diesel::delete(orders::table).execute(conn)?;
                    Ok::<_, Error>(parcel.clone())
                })
                .unwrap();
                assert_eq!(written(conn), expect(&[("", Some("delete")), (".old", None)]));
                // A model that is not there is inserted.
                let parcel = parcel.save(conn).unwrap();
                assert_eq!(written(conn), expect(&[("", Some("insert")), (".new", None)]));
                Operation::Update.publish(conn, &parcel).unwrap();
                assert_eq!(written(conn), expect(&[("", Some("update")), (".old", None)]));
                // Where it is not known, what is for one operation only is left out.
                diesel_outbox::publish(conn, &parcel).unwrap();
                assert_eq!(written(conn), expect(&[("", None)]));
            }

            #[test]
            fn headers_stream_and_lifetime_come_with_the_row() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                NewParcel { customer: "ann".into(), total: 1 }.save(conn).unwrap();
                let (headers, stream, added, expires) = published::table
                    .order(published::seq)
                    .select((
                        published::headers,
                        published::stream,
                        published::added,
                        published::expires_at,
                    ))
                    .first::<(Document, Option<String>, Moment, Moment)>(conn)
                    .unwrap();
                assert_eq!(headers.0["x-customer"], "ann");
                assert_eq!(stream.as_deref(), Some("billing"));
                let lifetime = (expires.0 - added.0).num_seconds();
                assert!((895..=905).contains(&lifetime), "{lifetime}");
            }

            #[test]
            fn our_migrations_stay_out_of_the_users_way() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                assert_eq!(conn.migrate().unwrap(), Vec::<String>::new());
                let theirs = || {
                    diesel_migrations::FileBasedMigrations::from_path("tests/outbox/migrations")
                        .unwrap()
                };
                use diesel_migrations::MigrationHarness;
                assert_eq!(conn.run_pending_migrations(theirs()).unwrap().len(), 1);
                assert_eq!(conn.revert_all_migrations(theirs()).unwrap().len(), 1);
                assert_eq!(rows(conn), []);
                assert!(conn.revert().unwrap().len() >= 2);
                assert!(published::table.count().get_result::<i64>(conn).is_err());
                assert!(conn.migrate().unwrap().len() >= 2);
            }
        }
    };
}

/// Statements that return rows, where Diesel has them.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
macro_rules! returning {
    ($name:ident, $connection:ty, $connect:path) => {
        mod $name {
            use diesel_outbox::PublishDsl;

            use super::*;

            #[test]
            fn any_statement_that_returns_models_publishes_them() {
                let Some(mut db) = $connect() else { return };
                let conn = &mut db.conn;
                let batch: Vec<_> = (0..3)
                    .map(|n| (orders::customer.eq("ann"), orders::total.eq(n)))
                    .collect();
                let all: Vec<Order> = diesel::insert_into(orders::table)
                    .values(&batch)
                    .returning(Order::as_returning())
                    .publish_all(conn)
                    .unwrap();
                assert_eq!(all.len(), 3);
                let changed: Vec<Order> = diesel::update(orders::table.filter(orders::total.lt(2)))
                    .set(orders::total.eq(9))
                    .returning(Order::as_returning())
                    .publish_all(conn)
                    .unwrap();
                assert_eq!(changed.len(), 2);
                let delete = diesel::delete(orders::table).returning(Order::as_returning());
                let gone: Vec<Order> = Operation::Delete.publish_all(conn, delete).unwrap();
                assert_eq!(gone.len(), 3);
                let rows = published::table.count().get_result::<i64>(conn);
                assert_eq!(rows, Ok(2 * (3 + 2 + 3)));
            }
        }
    };
}

/// A database of the test's own, with the outbox's tables and the orders.
struct Database<C> {
    conn: C,
    database: support::TestDatabase,
}

impl<C: Backend + Migrate> Database<C> {
    fn new(database: support::TestDatabase, id: &str) -> Self {
        let mut conn = C::establish(&database.url).unwrap();
        conn.migrate().unwrap();
        conn.batch_execute(&format!(
            "create table orders ({id}, customer varchar(100) not null, total bigint not null)"
        ))
        .unwrap();
        Self { conn, database }
    }
}

#[cfg(feature = "sqlite")]
fn sqlite() -> Option<Database<SqliteConnection>> {
    Some(Database::new(
        support::sqlite::<diesel::SqliteConnection>(),
        "id integer primary key",
    ))
}

#[cfg(feature = "postgres")]
fn postgres() -> Option<Database<PgConnection>> {
    let id = "id integer generated by default as identity primary key";
    Some(Database::new(
        support::postgres::<diesel::PgConnection>()?,
        id,
    ))
}

#[cfg(feature = "mysql")]
fn mysql() -> Option<Database<MysqlConnection>> {
    let id = "id integer primary key auto_increment";
    Some(Database::new(
        support::mysql::<diesel::MysqlConnection>()?,
        id,
    ))
}

#[cfg(feature = "sqlite")]
suite!(on_sqlite, SqliteConnection, sqlite);
#[cfg(feature = "postgres")]
suite!(on_postgres, PgConnection, postgres);
#[cfg(feature = "mysql")]
suite!(on_mysql, MysqlConnection, mysql);

#[cfg(feature = "sqlite")]
returning!(returning_on_sqlite, SqliteConnection, sqlite);
#[cfg(feature = "postgres")]
returning!(returning_on_postgres, PgConnection, postgres);
