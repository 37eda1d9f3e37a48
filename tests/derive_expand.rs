//! What the derived code does: the messages it makes, and the rows it writes.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_outbox::{Error, Message, MessageError, Publish, SaveOn};
use serde::ser::Error as _;
use serde_json::{Value, json};

mod schema {
    diesel::table! {
        orders {
            id -> Integer,
            customer -> Text,
            total -> BigInt,
            note -> Nullable<Text>,
        }
    }

    diesel::table! {
        lines (order_id, line) {
            order_id -> Integer,
            line -> Integer,
            amount -> BigInt,
        }
    }

    diesel::table! {
        tags (code, label) {
            code -> Text,
            label -> Text,
        }
    }

    diesel::table! {
        products (code) {
            code -> Text,
            #[sql_name = "type"]
            type_ -> Text,
            price -> BigInt,
            stock -> BigInt,
            label -> Text,
        }
    }

    diesel::table! {
        audits {
            id -> Integer,
            text -> Text,
        }
    }

    diesel::table! {
        wide {
            id -> Integer,
            c01 -> Nullable<Integer>,
            c02 -> Nullable<Integer>,
            c03 -> Nullable<Integer>,
            c04 -> Nullable<Integer>,
            c05 -> Nullable<Integer>,
            c06 -> Nullable<Integer>,
            c07 -> Nullable<Integer>,
            c08 -> Nullable<Integer>,
            c09 -> Nullable<Integer>,
            c10 -> Nullable<Integer>,
            c11 -> Nullable<Integer>,
            c12 -> Nullable<Integer>,
            c13 -> Nullable<Integer>,
            c14 -> Nullable<Integer>,
            c15 -> Nullable<Integer>,
            c16 -> Nullable<Integer>,
            c17 -> Nullable<Integer>,
            c18 -> Nullable<Integer>,
            c19 -> Nullable<Integer>,
            c20 -> Nullable<Integer>,
        }
    }
}

use schema::{audits, lines, orders, products, tags, wide};

fn connection() -> SqliteConnection {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    conn.batch_execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL UNIQUE,
             total BIGINT NOT NULL, note TEXT DEFAULT 'none');
         CREATE TABLE lines (order_id INTEGER NOT NULL, line INTEGER NOT NULL,
             amount BIGINT NOT NULL, PRIMARY KEY (order_id, line));
         CREATE TABLE tags (code TEXT NOT NULL, label TEXT NOT NULL, PRIMARY KEY (code, label));
         CREATE TABLE products (code TEXT PRIMARY KEY, type TEXT NOT NULL, price BIGINT NOT NULL,
             stock BIGINT NOT NULL DEFAULT 7, label TEXT NOT NULL);
         CREATE TABLE audits (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
         CREATE TABLE wide (id INTEGER PRIMARY KEY, c01 INT, c02 INT, c03 INT, c04 INT, c05 INT, c06 INT,
             c07 INT, c08 INT, c09 INT, c10 INT, c11 INT, c12 INT, c13 INT,
             c14 INT, c15 INT, c16 INT, c17 INT, c18 INT, c19 INT, c20 INT);",
    )
    .unwrap();
    conn
}

#[derive(Queryable, Selectable, Publish, Debug, Clone, PartialEq)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(total, customer), version = "v1")]
#[publish(destination = "/topic/orders.audit", serializer = Order::audit, key = id)]
#[publish(destination = "/queue/all", key = note)]
#[publish(destination = "/queue/named", fields(id), key = crate::first_letter)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
    note: Option<String>,
}

impl Order {
    fn audit(&self) -> impl serde::Serialize + '_ {
        (&self.customer, self.total)
    }
}

fn first_letter(order: &Order) -> Option<char> {
    order.customer.chars().next()
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder<'a> {
    customer: &'a str,
    total: i64,
}

fn order() -> Order {
    Order {
        id: 3,
        customer: "ann".into(),
        total: 12,
        note: None,
    }
}

/// Destination, body and ordering key of each message.
fn told(model: &impl Publish) -> Vec<(String, Value, Option<String>)> {
    let parts = |message: &Message| {
        (
            message.destination().to_owned(),
            message.body().expect("a body").clone(),
            message.ordering_key().map(str::to_owned),
        )
    };
    model.messages().unwrap().iter().map(parts).collect()
}

fn bodies(model: &impl Publish) -> Vec<Value> {
    told(model).into_iter().map(|(_, body, _)| body).collect()
}

#[test]
fn each_attribute_is_a_message_in_their_order() {
    let expected = vec![
        (
            "/topic/orders.v1".to_owned(),
            json!({"id": 3, "customer": "ann", "total": 12}),
            None,
        ),
        (
            "/topic/orders.audit".to_owned(),
            json!(["ann", 12]),
            Some("3".to_owned()),
        ),
        (
            "/queue/all".to_owned(),
            json!({"id": 3, "customer": "ann", "total": 12, "note": null}),
            None,
        ),
        (
            "/queue/named".to_owned(),
            json!({"id": 3}),
            Some("a".to_owned()),
        ),
    ];
    assert_eq!(told(&order()), expected);
}

#[test]
fn a_key_from_an_optional_field_follows_it() {
    let mut order = order();
    order.note = Some("vip".into());
    assert_eq!(told(&order)[2].2.as_deref(), Some("vip"));
}

#[derive(Publish, Debug, Clone, PartialEq, Queryable)]
#[diesel(table_name = lines)]
#[diesel(primary_key(order_id, line))]
#[publish(destination = "/queue/lines")]
#[publish(destination = "/queue/lines", fields(line))]
struct Line {
    line: i32,
    order_id: i32,
    amount: i64,
}

#[test]
fn a_composite_key_is_a_list_in_the_order_of_the_key() {
    let line = Line {
        line: 2,
        order_id: 9,
        amount: 5,
    };
    assert_eq!(
        bodies(&line),
        [
            json!({"id": [9, 2], "amount": 5}),
            json!({"id": [9, 2], "line": 2}),
        ]
    );
}

/// Written as text, so that a field's value and its column's differ.
#[derive(diesel::expression::AsExpression, Debug)]
#[diesel(sql_type = diesel::sql_types::Text)]
struct Upper(String);

impl From<String> for Upper {
    fn from(text: String) -> Self {
        Self(text.to_uppercase())
    }
}

impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::sqlite::Sqlite> for Upper {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::sqlite::Sqlite>,
    ) -> diesel::serialize::Result {
        diesel::serialize::ToSql::<diesel::sql_types::Text, diesel::sqlite::Sqlite>::to_sql(
            self.0.as_str(),
            out,
        )
    }
}

#[derive(Publish, Debug, Clone, PartialEq)]
#[diesel(table_name = products)]
#[diesel(primary_key(code))]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
#[publish(destination = "/queue/products")]
#[publish(destination = "/queue/products", fields(sku, r#type))]
struct Product {
    #[diesel(column_name = code)]
    sku: String,
    #[diesel(column_name = "type_")]
    r#type: String,
    #[diesel(skip_update)]
    price: i64,
    #[diesel(skip_insertion)]
    stock: i64,
    #[diesel(serialize_as = Upper)]
    label: String,
}

fn product() -> Product {
    Product {
        sku: "p1".into(),
        r#type: "book".into(),
        price: 10,
        stock: 1,
        label: "new".into(),
    }
}

#[test]
fn a_key_of_another_name_is_id_and_repeated_only_where_named() {
    assert_eq!(
        bodies(&product()),
        [
            json!({"id": "p1", "type": "book", "price": 10, "stock": 1, "label": "new"}),
            json!({"id": "p1", "sku": "p1", "type": "book"}),
        ]
    );
}

#[derive(Publish)]
#[publish(destination = "/queue/broken", fields(r#type))]
#[publish(save = false)]
struct Broken {
    id: i32,
    r#type: Unserialisable,
}

struct Unserialisable;

impl serde::Serialize for Unserialisable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("out of order"))
    }
}

#[test]
fn a_field_that_is_no_json_is_named() {
    let broken = Broken {
        id: 1,
        r#type: Unserialisable,
    };
    match broken.messages() {
        Err(Error::Message(MessageError::Field { field, source })) => {
            assert_eq!(field, "type");
            assert_eq!(source.to_string(), "out of order");
        }
        other => panic!("unexpected: {other:?}"),
    }
}

fn orders_in(conn: &mut SqliteConnection) -> Vec<Order> {
    orders::table.order(orders::id).load(conn).unwrap()
}

#[test]
fn a_new_row_is_inserted_and_given_back_as_the_model() {
    let conn = &mut connection();
    let new = NewOrder {
        customer: "bob",
        total: 4,
    };
    let saved = new.write(conn).unwrap();
    assert_eq!(saved.id, 1);
    assert_eq!(saved.note.as_deref(), Some("none"), "the column's default");
    assert_eq!(orders_in(conn), [saved]);
}

#[test]
fn a_row_that_is_not_there_is_inserted_with_every_column() {
    let conn = &mut connection();
    assert_eq!(order().write(conn).unwrap(), order());
    // The column has a default, which the explicit NULL must overrule.
    assert_eq!(orders_in(conn), [order()]);
}

#[test]
fn an_update_writes_every_column_of_its_own_row() {
    let conn = &mut connection();
    let other = Order {
        id: 4,
        customer: "bob".into(),
        total: 1,
        note: Some("kept".into()),
    };
    other.clone().write(conn).unwrap();
    let mut first = order();
    first.note = Some("soon gone".into());
    first.write(conn).unwrap();

    let mut changed = order();
    changed.total = 99;
    changed.clone().write(conn).unwrap();
    assert_eq!(orders_in(conn), [changed, other]);
}

#[test]
fn what_the_database_refuses_is_passed_on() {
    let conn = &mut connection();
    order().write(conn).unwrap();
    let same_customer = Order { id: 4, ..order() };
    let refused = same_customer.write(conn).unwrap_err();
    assert!(
        matches!(
            refused,
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)
        ),
        "{refused:?}"
    );
    assert_eq!(orders_in(conn), [order()]);
}

#[test]
fn a_composite_key_finds_one_row() {
    let conn = &mut connection();
    for (order_id, line) in [(1, 1), (1, 2), (2, 1)] {
        let new = Line {
            line,
            order_id,
            amount: 1,
        };
        new.write(conn).unwrap();
    }
    let changed = Line {
        line: 2,
        order_id: 1,
        amount: 50,
    };
    changed.write(conn).unwrap();
    let rows: Vec<(i32, i32, i64)> = lines::table.load(conn).unwrap();
    assert_eq!(rows, [(1, 1, 1), (1, 2, 50), (2, 1, 1)]);
}

#[derive(Publish, Debug, Clone)]
#[diesel(primary_key(code, label))]
#[publish(destination = "/queue/tags")]
struct Tag {
    code: String,
    label: String,
}

#[test]
fn a_row_of_keys_only_is_inserted_once() {
    let conn = &mut connection();
    let tag = Tag {
        code: "a".into(),
        label: "x".into(),
    };
    assert_eq!(bodies(&tag), [json!({"id": ["a", "x"]})]);
    tag.clone().write(conn).unwrap();
    tag.write(conn).unwrap();
    let rows: Vec<(String, String)> = tags::table.load(conn).unwrap();
    assert_eq!(rows, [("a".to_owned(), "x".to_owned())]);
}

#[test]
fn skipped_and_converted_columns_are_written_as_diesel_would() {
    let conn = &mut connection();
    let row = |conn: &mut SqliteConnection| -> (String, String, i64, i64, String) {
        products::table.first(conn).unwrap()
    };
    product().write(conn).unwrap();
    let inserted = ("p1".into(), "book".into(), 10, 7, "NEW".into());
    assert_eq!(row(conn), inserted, "stock is not inserted");

    let changed = Product {
        r#type: "disc".into(),
        price: 20,
        stock: 2,
        label: "old".into(),
        ..product()
    };
    assert_eq!(changed.clone().write(conn).unwrap(), changed);
    let updated = ("p1".into(), "disc".into(), 10, 2, "OLD".into());
    assert_eq!(row(conn), updated, "price is not updated");
}

#[derive(Publish, Debug)]
#[publish(destination = "/queue/audits")]
struct Audit {
    #[diesel(skip_insertion)]
    id: i32,
    text: String,
}

#[test]
fn a_row_whose_key_the_database_gives_is_updated_or_not_found() {
    let conn = &mut connection();
    let audit = || Audit {
        id: 5,
        text: "b".into(),
    };
    let missing = audit().write(conn).unwrap_err();
    assert_eq!(missing, DieselError::NotFound);

    conn.batch_execute("INSERT INTO audits VALUES (5, 'a')")
        .unwrap();
    audit().write(conn).unwrap();
    let rows: Vec<(i32, String)> = audits::table.load(conn).unwrap();
    assert_eq!(rows, [(5, "b".to_owned())]);
}

/// More columns than are put into one tuple.
#[derive(Queryable, Publish, Debug, Clone, PartialEq, Default)]
#[diesel(table_name = wide)]
#[publish(destination = "/queue/wide", fields(c01, c20))]
struct Wide {
    id: i32,
    c01: Option<i32>,
    c02: Option<i32>,
    c03: Option<i32>,
    c04: Option<i32>,
    c05: Option<i32>,
    c06: Option<i32>,
    c07: Option<i32>,
    c08: Option<i32>,
    c09: Option<i32>,
    c10: Option<i32>,
    c11: Option<i32>,
    c12: Option<i32>,
    c13: Option<i32>,
    c14: Option<i32>,
    c15: Option<i32>,
    c16: Option<i32>,
    c17: Option<i32>,
    c18: Option<i32>,
    c19: Option<i32>,
    c20: Option<i32>,
}

#[test]
fn a_wide_row_is_written_whole() {
    let conn = &mut connection();
    let mut row = Wide {
        id: 1,
        c01: Some(1),
        c16: Some(16),
        c17: Some(17),
        c20: Some(20),
        ..Wide::default()
    };
    row.clone().write(conn).unwrap();
    assert_eq!(wide::table.load::<Wide>(conn).unwrap(), [row.clone()]);
    row.c16 = None;
    row.c20 = Some(21);
    row.clone().write(conn).unwrap();
    assert_eq!(wide::table.load::<Wide>(conn).unwrap(), [row]);
}
