//! Function calls through the outbox: written with the order, executed after the commit.
//!
//! `cargo run --example calls`
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::prelude::*;
use diesel_outbox::calls::{Calls, Executor, State};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::prelude::*;
use diesel_outbox::{BoxError, Shutdown};

diesel::table! {
    receipts (order_id) {
        order_id -> BigInt,
    }
}

/// A client of a web service that fails at first.
#[derive(Default)]
struct Bank {
    requests: AtomicU32,
}

/// Runs on a thread, at least once.
#[outboxed(name = "shop.charge", key = order)]
fn charge(order: i64, cents: i64, bank: State<Bank>) -> Result<(), BoxError> {
    if bank.requests.fetch_add(1, Ordering::Relaxed) == 0 {
        return Err("the bank does not answer".into());
    }
    println!("order {order}: charged {cents} cents");
    Ok(())
}

/// Works in the transaction that records the call as done: there is one receipt.
#[outboxed(name = "shop.receipt")]
fn receipt(conn: &mut SqliteConnection, order: i64) -> Result<(), BoxError> {
    diesel::insert_into(receipts::table)
        .values(receipts::order_id.eq(order))
        .execute(conn)?;
    println!("order {order}: receipt written");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let url = folder.path().join("shop.db").display().to_string();
    let mut conn = SqliteConnection::establish(&url)?;
    conn.migrate()?;
    diesel::sql_query("create table receipts (order_id integer primary key)").execute(&mut conn)?;

    // In the transaction of the order. If it is rolled back, nothing is executed.
    conn.transaction::<_, BoxError, _>(|conn| {
        charge::later(conn, 7, 1200)?;
        receipt::later(conn, 7)?;
        Ok(())
    })?;

    let config = Config::builder()
        .set("database_url", url)
        .set("retry_first_delay", "100ms")
        .build()?;
    let calls = Calls::<SqliteConnection>::new()
        .add::<charge>()
        .add::<receipt>()
        .state(Arc::new(Bank::default()));
    let shutdown = Shutdown::new();
    let executor = Executor::new(&config, calls)?
        .on_failed(|call| println!("{}: attempt {} failed", call.name, call.attempt));
    let monitor = executor.monitor();
    let until = shutdown.clone();
    let running = tokio::spawn(async move { executor.run(&until).await });
    while monitor.stats().executed < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    shutdown.stop();
    let stats = running.await??;
    println!(
        "executed {}, failed attempts {}",
        stats.executed, stats.failed
    );
    Ok(())
}
