//! A publisher that was stopped for longer than its lease.

use std::time::Duration;

use diesel::prelude::*;
use diesel_outbox::Message;

use crate::consumer::Consumer;
use crate::program::wait_until;
use crate::publisher;
use crate::support::network::Mode;
use crate::world::World;
use crate::{WINDOW, support};

const ROWS: usize = 2_000;

/// It has leased up to three chunks of 100 when it is stopped; of these it sends only what was in flight.
#[test]
fn a_publisher_that_wakes_sends_nothing_under_its_old_leases() {
    let Some(world) = World::new::<PgConnection>(support::postgres::<diesel::PgConnection>())
    else {
        return;
    };
    let consumer = Consumer::start(&world);
    let mut conn = world.connect::<PgConnection>();
    let mut write = |rows: usize| {
        conn.transaction::<(), diesel_outbox::Error, _>(|conn| {
            for _ in 0..rows {
                Message::new(world.destination(), 1).publish(conn)?;
            }
            Ok(())
        })
        .unwrap();
    };
    write(ROWS);
    let stopped = publisher::start::<PgConnection>(&world);
    wait_until("it is under way", || consumer.arrived() > ROWS / 10);
    stopped.signal("STOP");
    let before = consumer.arrived();
    assert!(before < ROWS, "stopped too late");
    let other = publisher::start::<PgConnection>(&world);
    wait_until("the other sends all", || {
        world.waiting::<PgConnection>() == 0
    });
    let repeated = consumer.look(|arrivals| arrivals.sent_again);
    stopped.signal("CONT");
    // The stopped publisher works again.
    other.stop();
    write(10);
    wait_until("it continues", || world.sent::<PgConnection>() == ROWS + 10);
    std::thread::sleep(Duration::from_millis(200));
    let sent_again = consumer.look(|arrivals| arrivals.sent_again);
    eprintln!(
        "{repeated} rows sent again after the lease, {} when it woke",
        sent_again - repeated
    );
    assert!(
        sent_again <= 2 * WINDOW,
        "{sent_again} rows were sent again"
    );
    stopped.stop();
    assert_eq!(world.sent::<PgConnection>(), ROWS + 10);
}

/// To the server the process looks stopped: nothing more arrives from it.
#[test]
fn a_claim_that_stands_still_holds_up_nobody_for_long() {
    let Some(world) = World::new::<PgConnection>(support::postgres::<diesel::PgConnection>())
    else {
        return;
    };
    let consumer = Consumer::start(&world);
    // It has the lock of claims by then, and prepares the claim's own statement.
    let stalls = Mode::StallsAfter(b"lease_token");
    let still = publisher::start_in::<PgConnection>(&world, stalls);
    let network = still.database.as_ref().unwrap();
    network.wait_for(Mode::Stalled);
    let other = publisher::start::<PgConnection>(&world);
    let mut conn = world.connect::<PgConnection>();
    for _ in 0..10 {
        Message::new(world.destination(), 1)
            .publish(&mut conn)
            .unwrap();
    }
    wait_until("the other sends all", || consumer.arrived() == 10);
    network.set(Mode::Well);
    other.stop();
    Message::new(world.destination(), 1)
        .publish(&mut conn)
        .unwrap();
    wait_until("it is well again", || consumer.arrived() == 11);
    still.stop();
}
