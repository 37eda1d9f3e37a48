//! What `SaveOn::write` does to the tables.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_outbox::{Publish, SaveOn};

use crate::models::{Line, NewOrder, Order, Product, Tag, order, product};
use crate::schema::{audits, connection, lines, orders, products, tags, wide};

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
    let saved = new.write(conn).unwrap().0;
    assert_eq!(saved.id, 1);
    assert_eq!(saved.note.as_deref(), Some("none"), "the column's default");
    assert_eq!(orders_in(conn), [saved]);
}

#[test]
fn a_row_that_is_not_there_is_inserted_with_every_column() {
    let conn = &mut connection();
    assert_eq!(order().write(conn).unwrap().0, order());
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

#[test]
fn a_row_of_keys_only_is_inserted_once() {
    let conn = &mut connection();
    let tag = Tag {
        code: "a".into(),
        label: "x".into(),
    };
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
    assert_eq!(changed.clone().write(conn).unwrap().0, changed);
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
