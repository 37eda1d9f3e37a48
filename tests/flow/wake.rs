//! Relays that wait, and what wakes them.

use std::time::Duration;

use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_outbox::config::Builder;
use diesel_outbox::relay::{OnCommit, Relay};
use diesel_outbox::{Message, Shutdown, admin};

use crate::faults::Running;
use crate::place::{Place, Subject};

/// Longer than any test: a row that was sent was not found by the next poll.
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

pub(crate) fn an_operator_wakes_the_relay<C: Subject>(place: &Place) {
    // MySQL sends no notifications, and only new rows are seen without a poll.
    let settings = if C::NAME == "MySQL/MariaDB" {
        place.settings()
    } else {
        sleepy(place)
    };
    let mut conn = place.connect::<C>();
    admin::pause_stream(&mut conn, "mail").unwrap();
    let relay = Running::start::<C>(settings);
    let in_stream = Message::new(place.topic(), 1).stream("mail");
    in_stream.publish(&mut conn).unwrap();
    let late = Message::new(place.topic(), 2).delay(Duration::from_secs(3600));
    let late = late.publish(&mut conn).unwrap();
    Message::new(place.topic(), 3).publish(&mut conn).unwrap();
    arrives(place, 1);
    admin::resume_stream(&mut conn, "mail").unwrap();
    arrives(place, 2);
    assert_eq!(admin::cancel(&mut conn, [late]).unwrap().rows, 1);
    assert_eq!(admin::retry(&mut conn, [late]).unwrap().rows, 1);
    arrives(place, 3);
    // A delayed message blocks its key until it is cancelled.
    let keyed = |n: i32| Message::new(place.topic(), n).key("order 7".to_owned());
    let delayed = keyed(4).delay(Duration::from_secs(3600));
    let delayed = delayed.publish(&mut conn).unwrap();
    keyed(5).publish(&mut conn).unwrap();
    Message::new(place.topic(), 6).publish(&mut conn).unwrap();
    arrives(place, 4);
    assert!(diesel_outbox::cancel(&mut conn, delayed).unwrap());
    arrives(place, 5);
    relay.stop();
}

pub(crate) fn the_process_itself_may_wake_it<C: Subject>(place: &Place) {
    let config = sleepy(place).set("wake_up", false).build().unwrap();
    let relay = Relay::<C>::new(&config).unwrap();
    let waker = relay.waker();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(relay.run(&signal))
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

#[derive(Debug)]
struct BusyTimeout;

impl<C: Subject> CustomizeConnection<C, diesel::r2d2::Error> for BusyTimeout {
    fn on_acquire(&self, conn: &mut C) -> Result<(), diesel::r2d2::Error> {
        if C::NAME == "SQLite" {
            conn.batch_execute("pragma busy_timeout = 20000")?;
        }
        Ok(())
    }
}

/// One relay for each of two streams, in one process with the writers.
pub(crate) fn a_commit_of_a_pool_wakes_each_relay<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let (mut relays, mut wakers) = (Vec::new(), Vec::new());
    let shutdown = Shutdown::new();
    for stream in ["orders", "mail"] {
        admin::resume_stream(&mut conn, stream).unwrap();
        let config = sleepy(place)
            .set("wake_up", false)
            .set("stream", stream)
            .build()
            .unwrap();
        let relay = Relay::<C>::new(&config).unwrap();
        wakers.push(relay.waker());
        let heeded = shutdown.clone();
        relays.push(place.runtime.spawn(async move { relay.run(&heeded).await }));
    }
    let mail = wakers.pop().unwrap();
    let orders = wakers.pop().unwrap();
    let on_commit = OnCommit::new(orders).and(mail).after(BusyTimeout);
    let pool = Pool::builder()
        .max_size(2)
        .connection_customizer(Box::new(on_commit))
        .build(ConnectionManager::<C>::new(place.database_url()))
        .unwrap();
    for n in 1..=10 {
        let conn: &mut C = &mut pool.get().unwrap();
        let message = |stream| Message::new(place.topic(), n).stream(stream);
        conn.transaction(|conn| {
            message("orders").publish(conn)?;
            message("mail").publish(conn)
        })
        .unwrap();
        arrives(place, 2 * n);
    }
    shutdown.stop();
    for relay in relays {
        let stats = place.runtime.block_on(relay).unwrap().unwrap();
        assert_eq!(stats.sent, 10);
    }
}
