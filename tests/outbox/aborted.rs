//! A statement that failed, and code that continues, on PostgreSQL: the server has aborted the
//! transaction, and answers a COMMIT by rolling it back.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::schema::published;
use diesel_outbox::{Error, Operation, Publish};

diesel::table! {
    orders (id) {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

/// Nothing is published of a change.
#[derive(Debug, Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", on = insert)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

/// Inserts an order, and then fails without saying so.
fn careless(conn: &mut PgConnection) -> QueryResult<Order> {
    let order = diesel::insert_into(orders::table)
        .values((orders::customer.eq("ann"), orders::total.eq(1)))
        .returning(Order::as_returning())
        .get_result(conn)?;
    let _ = conn.batch_execute("insert into orders (customer, total) values (null, 1)");
    Ok(order)
}

fn counts(conn: &mut PgConnection) -> (i64, i64) {
    let orders = orders::table.count().get_result(conn).unwrap();
    (orders, published::table.count().get_result(conn).unwrap())
}

#[test]
fn saving_what_was_given_up_is_an_error() {
    let Some(mut db) = super::postgres() else {
        return;
    };
    let conn = &mut db.conn;
    for operation in [Operation::Insert, Operation::Update] {
        let saved = operation.save(conn, careless);
        let error = saved.expect_err("nothing is there").to_string();
        assert!(error.contains("transaction is aborted"), "{error}");
        assert_eq!(counts(conn), (0, 0), "{operation}");
        // In a transaction of the caller's it is an error too, and the rest of it continues.
        let outer = conn.transaction::<_, Error, _>(|conn| {
            conn.batch_execute("insert into orders (customer, total) values ('bob', 1)")?;
            Ok(operation.save(conn, careless).is_err())
        });
        assert!(outer.unwrap());
        assert_eq!(counts(conn), (1, 0), "{operation}");
        conn.batch_execute("delete from orders").unwrap();
    }
}
