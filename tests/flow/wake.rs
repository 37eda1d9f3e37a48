//! Relays that wait, and what wakes them.

use std::time::Duration;

use diesel_outbox::config::Builder;
use diesel_outbox::relay::Relay;
use diesel_outbox::{Message, Shutdown};

use crate::faults::Running;
use crate::place::{Place, Subject};

/// Longer than any test: whatever is sent was not found by the next look.
fn sleepy(place: &Place) -> Builder {
    place.settings().set("poll_interval", "1h")
}

fn arrives(place: &Place, messages: usize) {
    let arrived = place.loopback().wait_for(Duration::from_secs(20), |view| {
        view.sent().len() == messages
    });
    assert!(arrived, "{messages} did not arrive");
}

pub(crate) fn a_commit_wakes_the_relay<C: Subject>(place: &Place) {
    let relay = Running::start::<C>(sleepy(place));
    let mut conn = place.connect::<C>();
    for n in 1..=20 {
        conn.transaction(|conn| Message::new(place.topic(), n).publish(conn))
            .unwrap();
        arrives(place, n);
    }
    relay.stop();
}

pub(crate) fn the_process_itself_may_wake_it<C: Subject>(place: &Place) {
    let config = sleepy(place).set("wake_up", false).build().unwrap();
    let relay = Relay::<C>::new(&config).unwrap();
    let waker = relay.waker();
    let shutdown = Shutdown::new();
    let heeded = shutdown.clone();
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(relay.run(&heeded))
    });
    let mut conn = place.connect::<C>();
    for n in 1..=20 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
        waker.wake();
        arrives(place, n);
    }
    shutdown.stop();
    assert_eq!(running.join().unwrap().unwrap().sent, 20);
}
