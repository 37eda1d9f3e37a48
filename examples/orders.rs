//! A model that derives `Publish`: insert, update and delete, with several destinations.
//!
//! `cargo run --example orders`
#![allow(clippy::print_stdout)]

mod support;

use diesel::prelude::*;
use diesel_outbox::Error;
use diesel_outbox::prelude::*;
use diesel_outbox::schema::{Document, published};

use support::{Fallible, World};

diesel::table! {
    orders (id) {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

// Each attribute is one message; the last one is written for deletions only.
#[derive(Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(customer, total), version = "v1", key = id)]
#[publish(destination = "/topic/audit", serializer = Order::audit, operation_header = "operation")]
#[publish(destination = "/topic/orders.gone", fields(id), on = delete)]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

impl Order {
    fn audit(&self) -> String {
        format!("order {} of {}", self.id, self.customer)
    }
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder<'a> {
    customer: &'a str,
    total: i64,
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let world = World::new(
        "create table orders (id integer primary key, customer text not null, total bigint not null)",
    )?;
    let conn = &mut world.connect()?;

    let new = NewOrder {
        customer: "ann",
        total: 12,
    };
    let mut order = new.save(conn)?;
    order.total = 13;
    order.save(conn)?;

    let undone = conn.transaction(|conn| {
        let new = NewOrder {
            customer: "bob",
            total: 99,
        };
        new.save(conn)?;
        Err::<(), Error>(diesel::result::Error::RollbackTransaction.into())
    });
    println!("bob's order was rolled back: {}", undone.is_err());

    let delete = diesel::delete(orders::table).returning(Order::as_returning());
    let gone: Vec<Order> = Operation::Delete.publish_all(conn, delete)?;
    println!("deleted {}", gone.len());

    println!("waiting in the outbox:");
    let rows: Vec<(String, Document, Document)> = published::table
        .order(published::seq)
        .select((published::destination, published::body, published::headers))
        .load(conn)?;
    for (destination, body, headers) in rows {
        let operation = headers.0["operation"].as_str().unwrap_or_default();
        println!("  {destination} {} {operation}", body.0);
    }
    println!("sent {}", world.publish().await?);
    Ok(())
}
