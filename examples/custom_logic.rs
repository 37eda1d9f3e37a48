//! Statements of your own, and messages without a model, in one transaction.
//!
//! `cargo run --example custom_logic`
#![allow(clippy::print_stdout)]

mod support;

use std::time::Duration;

use diesel::prelude::*;
use diesel_outbox::Error;
use diesel_outbox::prelude::*;
use serde_json::json;

use support::{Fallible, World};

diesel::table! {
    accounts (id) {
        id -> Integer,
        owner -> Text,
        balance -> BigInt,
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = accounts)]
#[publish(destination = "/topic/accounts", key = id)]
struct Account {
    id: i32,
    owner: String,
    balance: i64,
}

/// Moves money: two updates and three messages, all or nothing.
fn transfer(conn: &mut SqliteConnection, from: i32, to: i32, amount: i64) -> Result<(), Error> {
    conn.transaction(|conn| {
        for (id, change) in [(from, -amount), (to, amount)] {
            // Any statements that return a model; its messages are written in the same transaction.
            Operation::Update.save(conn, |conn| {
                diesel::update(accounts::table.find(id))
                    .set(accounts::balance.eq(accounts::balance + change))
                    .returning(Account::as_returning())
                    .get_result(conn)
            })?;
        }
        // A message about no single row. After an hour it is no longer of use.
        Message::new(
            "/topic/transfers",
            json!({"from": from, "to": to, "amount": amount}),
        )
        .version("v2")
        .header("x-currency", "EUR")
        .expires_in(Duration::from_secs(3600))
        .publish(conn)?;
        let overdrawn = accounts::table.filter(accounts::balance.lt(0));
        if diesel::select(diesel::dsl::exists(overdrawn)).get_result(conn)? {
            // Rolls everything back, the messages too.
            return Err(diesel::result::Error::RollbackTransaction.into());
        }
        Ok(())
    })
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let world = World::new(
        "create table accounts (id integer primary key, owner text not null, balance bigint not null);
         insert into accounts (owner, balance) values ('ann', 100), ('bob', 0)",
    )?;
    let conn = &mut world.connect()?;
    println!("30 of ann's to bob: {:?}", transfer(conn, 1, 2, 30).is_ok());
    println!(
        "300 of ann's to bob: {:?}",
        transfer(conn, 1, 2, 300).is_ok()
    );
    println!("sent {}", world.publish().await?);
    world.broker.view(|view| {
        for sent in view.sent() {
            println!(
                "  {} {}",
                sent.destination,
                String::from_utf8_lossy(&sent.body)
            );
        }
    });
    Ok(())
}
