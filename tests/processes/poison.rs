//! Rows at which the broker closes the connection.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::schema::published;

use super::World;
use super::listener::Listener;
use super::program::{Program, wait_until};

#[test]
fn a_row_that_the_broker_refuses_is_parked_and_harms_no_other() {
    let Some(world) = World::new() else { return };
    let listener = Listener::new(&world);
    world.write(300);
    // RabbitMQ answers the first and the last with ERROR and closes the connection, the second with ERROR only.
    let missing = format!("/exchange/{}/x", world.name);
    let unknown = "/nothing/of/the/kind";
    let unreadable = format!("/queue/{}", world.name);
    for (destination, key, headers) in [
        (missing.as_str(), "'k'", "{}"),
        (unknown, "null", "{}"),
        (&world.topic(), "'k'", "{}"),
        (&unreadable, "null", r#"{"priority": "abc"}"#),
    ] {
        world
            .connect()
            .batch_execute(&format!(
                "insert into published (id, destination, body, key, headers)
                 values (gen_random_uuid(), '{destination}', '0', {key}, '{headers}')"
            ))
            .unwrap();
    }
    world.write(300);
    let mut relay = Program::start(
        &world,
        env!("CARGO_BIN_EXE_publish"),
        &["--retry-attempts", "2", "--retry-first-delay", "200ms"],
    );
    listener.wait_for(600);
    wait_until("all three are parked", || world.counts().parked == 3);
    wait_until("the rest is settled", || world.counts().sent == 600);
    relay.signal("TERM");
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    // One log line for each attempt, and none of an outage.
    let lines = relay.lines();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("is not available"), 0, "{lines:#?}");
    assert_eq!(count(" WARN "), 6, "{lines:#?}");
    assert!(
        count("closed the connection; the rows in flight") <= 6,
        "{lines:#?}"
    );
    assert_eq!(count("closed with this row alone"), 0, "{lines:#?}");
    type Parked = (String, i32, Option<String>);
    let mut parked: Vec<Parked> = published::table
        .filter(published::status.eq(-1))
        .select((
            published::destination,
            published::retry,
            published::last_error,
        ))
        .order(published::seq)
        .load(&mut world.connect())
        .unwrap();
    let (destination, retries, reason) = parked.remove(0);
    assert_eq!((destination.as_str(), retries), (missing.as_str(), 2));
    assert!(reason.unwrap().contains("no exchange"));
    let (destination, retries, reason) = parked.remove(0);
    assert_eq!((destination.as_str(), retries), (unknown, 2));
    assert!(reason.unwrap().contains("Unknown destination"));
    let (destination, retries, reason) = parked.remove(0);
    assert_eq!((destination, retries), (unreadable, 2));
    let reason = reason.unwrap();
    assert!(reason.contains("such as a `priority`"), "{reason}");
    assert_eq!(world.counts().waiting, 1, "the next row of the key waits");
    let healthy: i64 = published::table
        .filter(published::destination.eq(world.topic()))
        .filter(published::retry.gt(0))
        .count()
        .get_result(&mut world.connect())
        .unwrap();
    assert_eq!(healthy, 0, "no other row was blamed");
}
