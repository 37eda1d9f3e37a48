//! Straight to the broker, without an outbox: for what needs no transaction. The receipt is
//! awaited, so that a message that was not taken is an error here and not a loss somewhere.
//!
//! `cargo run --example direct_send`
#![allow(clippy::print_stdout)]

mod support;

use diesel_outbox::{Message, Producer};
use serde_json::json;

use support::{Outcome, World};

#[tokio::main]
async fn main() -> Outcome<()> {
    let world = World::new("")?;
    let producer = Producer::connect(&world.config).await?;
    let id = producer
        .send(Message::new("/queue/mail", json!({"to": "ann"})).header("x-priority", "low"))
        .await?;
    println!("the broker has {id}");

    // What it refuses is told.
    let refused = producer.send(Message::new("", 1)).await;
    println!(
        "refused: {}",
        refused
            .err()
            .map_or_else(String::new, |error| error.to_string())
    );
    producer.close().await?;
    println!(
        "in the queue: {}",
        world.broker.view(|view| view.ready("mail"))
    );
    Ok(())
}
