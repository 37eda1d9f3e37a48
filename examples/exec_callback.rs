//! A program as the callback, with the built-in `exec:`. It runs `exec_callback.sh` for each message.
//!
//! The program's work is not in the database, so it may happen twice.
//!
//! `cargo run --example exec_callback`
#![allow(clippy::print_stdout)]

mod support;

use diesel::prelude::*;
use diesel_outbox::prelude::*;
use serde_json::json;

use support::{Fallible, World};

fn main() -> Fallible<()> {
    let output = tempfile::NamedTempFile::new()?;
    if std::env::var_os("EXAMPLE_OUTPUT").is_none() {
        // The program inherits the environment: start this process again with the variable set.
        let status = std::process::Command::new(std::env::current_exe()?)
            .env("EXAMPLE_OUTPUT", output.path())
            .status()?;
        print!("{}", std::fs::read_to_string(output.path())?);
        return if status.success() {
            Ok(())
        } else {
            Err("it failed".into())
        };
    }
    run()
}

#[tokio::main]
async fn run() -> Fallible<()> {
    let world = World::new("")?;
    let program = concat!(
        "exec:",
        env!("CARGO_MANIFEST_DIR"),
        "/examples/exec_callback.sh"
    );
    let conn = &mut world.connect()?;
    for to in ["ann", "bob"] {
        Message::new("/topic/mail", json!({"to": to}))
            .header("x-kind", "greeting")
            .publish(conn)?;
    }
    let registry = Registry::<SqliteConnection>::new();
    let mail = [(program, "/topic/mail", "mail")];
    let settled = world.settle(&registry, &mail).await?;
    println!("{} done", settled.handled.done);
    Ok(())
}
