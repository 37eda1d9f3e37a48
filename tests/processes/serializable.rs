//! Databases whose transactions are serializable by default.

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::Message;

use super::World;
use super::listener::Listener;
use super::program::Program;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");

fn relays_that_run_once_get_along(level: &str) {
    const ROWS: usize = 1_500;

    let Some(world) = World::new() else { return };
    let database = world.database.url.rsplit_once('/').unwrap().1;
    world
        .connect()
        .batch_execute(&format!(
            "alter database \"{database}\" set default_transaction_isolation = '{level}'"
        ))
        .unwrap();
    let listener = Listener::new(&world);
    world.write(ROWS);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A service that reads what it writes, and so conflicts with others.
        for _ in 0..2 {
            let (topic, mut conn) = (world.topic(), world.connect());
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = conn.transaction::<(), diesel_outbox::Error, _>(|conn| {
                        conn.batch_execute("select count(*) from published where status <> 2")?;
                        let id = Message::new(&topic, 1).publish(conn)?;
                        diesel_outbox::cancel(conn, id)?;
                        Ok(())
                    });
                }
            });
        }
        for _ in 0..3 {
            let mut relays: Vec<_> = (0..3)
                .map(|_| Program::start(&world, PUBLISH, &["--once", "--chunk-size", "20"]))
                .collect();
            for relay in &mut relays {
                assert!(relay.ended().success(), "{:#?}", relay.lines());
                let log = relay.lines().join("\n");
                assert!(!log.contains("the database is not available"), "{log}");
            }
            world.write(200);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut last = Program::start(&world, PUBLISH, &["--once"]);
    assert!(last.ended().success(), "{:#?}", last.lines());
    listener.wait_for(ROWS + 600);
    assert_eq!(world.counts().waiting, 0);
}

#[test]
fn relays_that_run_once_get_along_at_serializable() {
    relays_that_run_once_get_along("serializable");
}

#[test]
fn relays_that_run_once_get_along_at_repeatable_read() {
    relays_that_run_once_get_along("repeatable read");
}
