//! A model that derives `Publish`: saving it writes its messages in the same transaction.

#![allow(clippy::print_stdout)]

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::schema::{Document, published};
use diesel_outbox::{Error, Message, Publish, Save};
use serde_json::json;

diesel::table! {
    orders (id) {
        id -> Integer,
        customer -> Text,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(customer, total), version = "v1")]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder<'a> {
    customer: &'a str,
    total: i64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let conn = &mut SqliteConnection::establish(":memory:")?;
    conn.migrate()?;
    conn.batch_execute(
        "create table orders (id integer primary key, customer text not null, total bigint not null)",
    )?;

    let new = NewOrder {
        customer: "ann",
        total: 12,
    };
    let mut order = new.save(conn)?;
    order.total = 13;
    order.save(conn)?;
    Message::new("/queue/mail", json!({"to": "ann"})).publish(conn)?;

    let undone = conn.transaction(|conn| {
        let new = NewOrder {
            customer: "bob",
            total: 99,
        };
        new.save(conn)?;
        Err::<(), Error>(diesel::result::Error::RollbackTransaction.into())
    });
    println!("bob's order was rolled back: {}", undone.is_err());

    println!("waiting in the outbox:");
    let rows: Vec<(String, Document)> = published::table
        .order(published::seq)
        .select((published::destination, published::body))
        .load(conn)?;
    for (destination, body) in rows {
        println!("  {destination} {}", body.0);
    }
    Ok(())
}
