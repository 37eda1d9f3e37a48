//! A callback that opens its own transaction, as callbacks of django-outbox-pattern do.
//!
//! It must return a `Proof`, which only `payload.save(conn)?` and `payload.nack()` return. A callback that
//! forgets both does not compile.
//!
//! `cargo run --example self_managed`
#![allow(clippy::print_stdout)]

mod support;

use diesel::prelude::*;
use diesel_outbox::Error;
use diesel_outbox::prelude::*;
use serde_json::json;

use support::{Fallible, World};

fn import(conn: &mut SqliteConnection, payload: &Payload) -> Result<Proof, BoxError> {
    let Some(lines) = payload.body()["lines"].as_array() else {
        return Ok(payload.nack());
    };
    // Slow work that needs no transaction comes first.
    let total: i64 = lines.iter().filter_map(serde_json::Value::as_i64).sum();
    let proof = conn.immediate_transaction::<_, Error, _>(|conn| {
        diesel::sql_query("insert into imports (total) values (?)")
            .bind::<diesel::sql_types::BigInt, _>(total)
            .execute(conn)?;
        // Fails for a duplicate, and the transaction with the import is rolled back.
        payload.save(conn)
    })?;
    Ok(proof)
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let world = World::new("create table imports (total bigint not null)")?;
    let registry = Registry::<SqliteConnection>::new().on_managed("import", import);
    let conn = &mut world.connect()?;
    // Two messages with the same id: the second one is a duplicate and has no effect.
    for _ in 0..2 {
        Message::new("/topic/imports", json!({"lines": [1, 2, 3]}))
            .header("cap-msg-id", "import-7")
            .publish(conn)?;
    }
    Message::new("/topic/imports", "no lines at all").publish(conn)?;
    let imports = [("import", "/topic/imports", "imports")];
    let settled = world.settle(&registry, &imports).await?;
    println!("sent {}", settled.sent.sent);
    let handled = settled.handled;
    println!(
        "{} imported, {} duplicates, {} discarded",
        handled.done, handled.duplicates, handled.discarded
    );
    Ok(())
}
