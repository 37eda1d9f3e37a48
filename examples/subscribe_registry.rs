//! A service's own `subscribe` with several callbacks.
//!
//! With arguments it is that program. Without, it publishes some messages and handles them itself.
//!
//! `cargo run --example subscribe_registry`, or
//! `cargo run --example subscribe_registry -- orders.created /topic/orders.v1 billing`
#![allow(clippy::print_stdout)]

mod support;

use std::process::ExitCode;

use diesel::prelude::*;
use diesel_outbox::{self as outbox, prelude::*, testing};
use serde_json::json;

use support::{Fallible, World};

#[derive(serde::Deserialize)]
struct Order {
    id: i32,
    total: i64,
}

// Runs in the inbox transaction: `Ok` commits and acknowledges the message, an error rolls back and the
// message is tried again.
fn created(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    let order: Order = payload.json()?;
    if order.total < 0 {
        // A business reason: the message goes to the dead letters, and the inbox has no row.
        return Ok(Outcome::Discard("a negative total".to_owned()));
    }
    diesel::sql_query("insert into bills (order_id, total) values (?, ?)")
        .bind::<diesel::sql_types::Integer, _>(order.id)
        .bind::<diesel::sql_types::BigInt, _>(order.total)
        .execute(conn)?;
    // Written in the same transaction, with the correlation id of the message that is handled.
    Message::new("/topic/bills", json!({"order": order.id})).publish(conn)?;
    Ok(Outcome::Done)
}

fn cancelled(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    let order: Order = payload.json()?;
    diesel::sql_query("delete from bills where order_id = ?")
        .bind::<diesel::sql_types::Integer, _>(order.id)
        .execute(conn)?;
    Ok(Outcome::Done)
}

fn registry() -> Registry<SqliteConnection> {
    Registry::new()
        .on("orders.created", created)
        .on("orders.cancelled", cancelled)
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        return outbox::cli::subscribe(registry());
    }
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn show() -> Fallible<()> {
    let world = World::new("create table bills (order_id integer, total bigint)")?;
    let registry = registry();
    let created = [("orders.created", "/topic/created", "billing.created")];
    let cancelled = [("orders.cancelled", "/topic/cancelled", "billing.cancelled")];
    let conn = &mut world.connect()?;
    for (id, total) in [(1, 12), (2, 13), (3, -1)] {
        Message::new("/topic/created", json!({"id": id, "total": total})).publish(conn)?;
    }
    let created = world.settle(&registry, &created).await?.handled;
    Message::new("/topic/cancelled", json!({"id": 1, "total": 12})).publish(conn)?;
    let cancelled = world.settle(&registry, &cancelled).await?.handled;
    println!(
        "created: {} done, {} discarded",
        created.done, created.discarded
    );
    println!("cancelled: {} done", cancelled.done);
    let bills = testing::published_to(conn, "/topic/bills")?;
    println!("{} messages of bills", bills.len());
    Ok(())
}
