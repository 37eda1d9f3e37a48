//! Tasks of Celery in both directions: written to the outbox for a worker, and run by a subscriber.
//!
//! `cargo run --example celery`. The subscriber stands for the worker here, so that neither Python nor
//! RabbitMQ is needed; `docs/celery.md` has the same with a worker and a client in Python.
#![allow(clippy::print_stdout)]

mod support;

use diesel::prelude::*;
use diesel_outbox::{BoxError, Celery, CeleryTask, Meta, Registry, testing};
use uuid::Uuid;

use support::{Fallible, World};

const QUEUE: &str = "shop";

/// The parameters of the task, in Python: `def charge(order, amount, currency="eur")`.
#[derive(serde::Deserialize)]
struct Charge {
    order: i32,
    amount: String,
    #[serde(default = "eur")]
    currency: String,
}

fn eur() -> String {
    "eur".to_owned()
}

#[derive(serde::Serialize)]
struct Options {
    currency: &'static str,
}

/// Runs in the inbox transaction, so a task that is sent twice has one effect here.
fn charge(
    conn: &mut SqliteConnection,
    Celery(charge): Celery<Charge>,
    meta: &Meta,
) -> Result<(), BoxError> {
    diesel::sql_query("insert into charges (order_id, amount) values (?, ?)")
        .bind::<diesel::sql_types::Integer, _>(charge.order)
        .bind::<diesel::sql_types::Text, _>(format!("{} {}", charge.amount, charge.currency))
        .execute(conn)?;
    println!(
        "charged {} {} for order {}, attempt of task {}",
        charge.amount,
        charge.currency,
        charge.order,
        meta.header("id").unwrap_or_default()
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let world = World::new("create table charges (order_id integer, amount text)")?;
    let conn = &mut world.connect()?;

    // Positional and keyword arguments, as a caller in Python would pass them.
    let task = CeleryTask::new("shop.charge")
        .queue(QUEUE)
        .args((7, "12.50"));
    task.id(Uuid::from_u128(7)).publish(conn)?;
    let task = CeleryTask::new("shop.charge").queue(QUEUE).args((8,));
    task.kwargs(serde_json::json!({"amount": "3", "currency": "usd"}))
        .publish(conn)?;

    // A write that is retried with the same id is one task.
    let again = CeleryTask::new("shop.charge")
        .queue(QUEUE)
        .id(Uuid::from_u128(7));
    println!("written again: {}", again.publish_if_new(conn)?);

    // A task that nobody knows: it goes to the dead letters with the reason.
    let unknown = CeleryTask::new("shop.refund").queue(QUEUE);
    unknown.kwargs(Options { currency: "eur" }).publish(conn)?;

    let row = &testing::published(conn)?[0];
    println!("{} {} {}", row.destination, row.headers["task"], row.body);
    println!("sent {}", world.publish().await?);

    let registry = Registry::new().on_celery("shop.charge", charge);
    let queue = [("celery", "/amq/queue/shop", QUEUE)];
    let handled = world.settle(&registry, &queue).await?.handled;
    println!("{} done, {} dead letters", handled.done, handled.dead);
    Ok(())
}
