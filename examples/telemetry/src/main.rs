//! One order in one trace, over four processes: it is saved, sent, billed, and a receipt is mailed.
//!
//! The argument says which process this is: `order`, `relay`, `billing` or `calls`. `DATABASE_URL` is an SQLite file, and
//! `STOMP_URL` a broker. Each process ends when its part is done:
//!
//! ```sh
//! export DATABASE_URL=shop.db STOMP_URL=stomp://guest:guest@localhost:61613/
//! cargo run -p outbox-example-telemetry order
//! cargo run -p outbox-example-telemetry billing & # declares its queue, and waits for the message
//! cargo run -p outbox-example-telemetry relay
//! cargo run -p outbox-example-telemetry calls
//! ```

mod lines;
mod open_telemetry;

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::calls::{Calls, Executor};
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::prelude::*;
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Shutdown};
use tracing::info_span;

diesel::table! {
    orders (id) {
        id -> Integer,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", version = "v1", fields(total))]
struct Order {
    id: i32,
    total: i64,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder {
    total: i64,
}

/// A function call through the outbox.
#[outboxed(name = "shop.receipt")]
fn receipt(order: i32) -> Result<(), BoxError> {
    info_span!("mail the receipt", order).in_scope(|| tracing::info!("mailed"));
    Ok(())
}

/// The callback of the subscriber.
fn bill(_: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    let total = payload.body()["total"].as_i64();
    info_span!("bill the customer", total).in_scope(|| tracing::info!("billed"));
    Ok(Outcome::Done)
}

/// Saves an order with its message, and a call.
fn place_order(config: &Config) -> Result<(), BoxError> {
    let mut conn = SqliteConnection::establish(config.require_database_url()?.expose())?;
    conn.migrate()?;
    conn.batch_execute(
        "create table if not exists orders (id integer primary key, total bigint not null)",
    )?;
    info_span!("place an order").in_scope(|| {
        conn.transaction(|conn| {
            let order = NewOrder { total: 12 }.save(conn)?;
            receipt::later(conn, order.id)?;
            Ok(())
        })
    })
}

/// Handles one message.
async fn bill_one(config: &Config) -> Result<(), BoxError> {
    let registry = Registry::<SqliteConnection>::new().on("bill", bill);
    let subscriber = Subscriber::new(
        config,
        &registry,
        "bill",
        "/topic/orders.v1",
        Some("billing"),
    )?;
    let (monitor, shutdown) = (subscriber.monitor(), Shutdown::on_signals()?);
    let signal = shutdown.clone();
    let running = tokio::spawn(async move { subscriber.run(&signal).await });
    while monitor.stats().done == 0 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.stop();
    running.await??;
    Ok(())
}

async fn run(part: &str) -> Result<(), BoxError> {
    let config = Config::builder().env().build()?;
    match part {
        "order" => place_order(&config)?,
        "relay" => {
            let relay = Relay::<SqliteConnection>::new(&config)?;
            relay.run_once(&Shutdown::on_signals()?).await?;
        }
        "billing" => bill_one(&config).await?,
        "calls" => {
            let calls = Calls::<SqliteConnection>::new().add::<receipt>();
            let executor = Executor::new(&config, calls)?;
            executor.run_once(&Shutdown::on_signals()?).await?;
        }
        _ => return Err("the argument is order, relay, billing or calls".into()),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let service = match part.as_str() {
        "relay" => "relay",
        "billing" => "billing",
        "calls" => "calls",
        _ => "shop",
    };
    let provider = open_telemetry::install(service)?;
    let outcome = run(&part).await;
    // Exports what is buffered.
    provider.shutdown()?;
    outcome
}
