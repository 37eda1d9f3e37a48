//! The models of the documentation.

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use diesel_outbox::{Error, Publish, Save};

diesel::table! {
    orders {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(customer, total), version = "v1")]
#[publish(destination = "/topic/orders.audit", serializer = Order::audit, key = id)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

impl Order {
    fn audit(&self) -> (i32, &str) {
        (self.id, &self.customer)
    }
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder<'a> {
    customer: &'a str,
    total: i64,
}

fn on_a_connection(conn: &mut SqliteConnection) -> Result<Order, Error> {
    let mut order = NewOrder {
        customer: "ann",
        total: 12,
    }
    .save(conn)?;
    order.total = 13;
    order.save(conn)
}

fn on_a_pool(
    conn: &mut PooledConnection<ConnectionManager<SqliteConnection>>,
) -> Result<Order, Error> {
    NewOrder {
        customer: "ann",
        total: 12,
    }
    .save(conn)
}

#[test]
fn has_a_message_for_each_attribute() {
    let _ = (on_a_connection, on_a_pool);
    let order = Order {
        id: 1,
        customer: "ann".into(),
        total: 13,
    };
    assert_eq!(
        order.messages().map(|messages| messages.len()).ok(),
        Some(2)
    );
}
