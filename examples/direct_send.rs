//! Sends straight to the broker, without the outbox, for messages that need no transaction.
//!
//! `send` waits for the receipt: a message that the broker did not accept is an error here.
//!
//! `cargo run --example direct_send`
#![allow(clippy::print_stdout)]

mod support;

use diesel_outbox::prelude::*;
use serde_json::json;

use support::{Fallible, World};

#[tokio::main]
async fn main() -> Fallible<()> {
    let world = World::new("")?;
    let producer = Producer::connect(&world.config).await?;
    let id = producer
        .send(Message::new("/queue/mail", json!({"to": "ann"})).header("x-priority", "low"))
        .await?;
    println!("the broker has {id}");

    // An invalid message is an error.
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
