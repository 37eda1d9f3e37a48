//! Function calls that run right after the commit, in the thread that wrote them.
//!
//! `cargo run --example calls_in_transaction`
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::prelude::*;
use diesel_outbox::calls::{Calls, Executor, State};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::prelude::*;
use diesel_outbox::{self as outbox, BoxError, Shutdown};

diesel::table! {
    receipts (order_id) {
        order_id -> BigInt,
    }
}

/// A client of a web service that fails once.
#[derive(Default)]
struct Bank {
    requests: AtomicU32,
}

#[outboxed(name = "shop.charge")]
fn charge(order: i64, cents: i64, bank: State<Bank>) -> Result<(), BoxError> {
    if bank.requests.fetch_add(1, Ordering::Relaxed) == 1 {
        println!("order {order}: the bank does not answer");
        return Err("the bank does not answer".into());
    }
    println!("order {order}: charged {cents} cents");
    Ok(())
}

/// Works in the transaction that records the call as done.
#[outboxed(name = "shop.receipt")]
fn receipt(conn: &mut SqliteConnection, order: i64) -> Result<(), BoxError> {
    diesel::insert_into(receipts::table)
        .values(receipts::order_id.eq(order))
        .execute(conn)?;
    println!("order {order}: receipt written");
    Ok(())
}

/// Places an order. Its calls have run when this returns, or an executor retries them.
fn place(conn: &mut SqliteConnection, order: i64, cents: i64) -> Result<(), BoxError> {
    outbox::transaction(conn, |conn| {
        charge::later(conn, order, cents)?;
        receipt::later(conn, order)?;
        if order == 8 {
            return Err("out of stock".into()); // rolled back: nothing runs
        }
        Ok(())
    })
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let url = folder.path().join("shop.db").display().to_string();
    let mut conn = SqliteConnection::establish(&url)?;
    conn.migrate()?;
    diesel::sql_query("create table receipts (order_id integer primary key)").execute(&mut conn)?;

    let config = Config::builder()
        .set("database_url", url)
        .set("retry_first_delay", "100ms")
        .build()?;
    let calls = Calls::<SqliteConnection>::new()
        .add::<charge>()
        .add::<receipt>()
        .state(Arc::new(Bank::default()));
    let executor = Executor::new(&config, calls)?;
    let immediate = executor.immediate().install();

    for (order, cents) in [(7, 1200), (8, 300), (9, 500)] {
        match place(&mut conn, order, cents) {
            Ok(()) => println!("order {order} is placed"),
            Err(error) => println!("order {order} is refused: {error}"),
        }
    }

    // It executes what failed, and what other processes left.
    let monitor = executor.monitor();
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let running = tokio::spawn(async move { executor.run(&until).await });
    while monitor.stats().executed < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    shutdown.stop();
    running.await??;
    println!(
        "executed here {}, by the executor {}",
        immediate.stats().executed,
        monitor.stats().executed
    );
    Ok(())
}
