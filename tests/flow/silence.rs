//! Connections to the database that are silent and that nobody closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel_outbox::config::Builder;
use diesel_outbox::{Message, Outcome, Payload, Registry};

use crate::faults::Running;
use crate::place::{Place, Subject, next, wait_until};
use crate::support::network::Network;

/// Far below `shutdown_timeout`.
const SOON: Duration = Duration::from_secs(30);

fn through(place: &Place, network: &Network) -> Builder {
    place
        .settings()
        .set("database_url", network.address_for(place.database_url()))
        .set("database_timeout", "500ms")
        .set("statement_timeout", "500ms")
        .set("maximum_backoff", "1s")
        .set("receipt_timeout", "3s")
        .set("lease", "5s")
}

fn write<C: Subject>(place: &Place, rows: i64) {
    let mut conn = place.connect::<C>();
    for n in 0..rows {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
}

fn noting<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |conn: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    )
}

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

pub(crate) fn a_relay_replaces_its_silent_connections<C: Subject>(place: &Place) {
    let network = Network::to(place.database_url());
    write::<C>(place, 20);
    let (relay, log) = Running::logged::<C>(through(place, &network));
    wait_until("all is sent", || place.counts::<C>().sent == 20);
    for round in 2..=3 {
        network.silence();
        write::<C>(place, 20);
        wait_until("all is sent", || place.counts::<C>().sent == round * 20);
    }
    assert!(log.count("WARN") >= 1, "it is logged");
    assert!(
        log.count("WARN") < 8,
        "and not again and again: {}",
        log.text()
    );
    // During a shutdown, too.
    network.silence();
    let begun = Instant::now();
    relay.stop();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

pub(crate) fn a_worker_that_is_stuck_is_replaced<C: Subject>(place: &Place) {
    let network = Network::to(place.database_url());
    place.declare::<C>();
    let config = through(place, &network).build().unwrap();
    let (consumer, log) = place.subscribe_logged(&noting::<C>(), &config);
    for round in 1..=4 {
        place.send(Message::new(place.topic(), round));
        // Not only the effect: the answer to COMMIT would get lost, and no third attempt begins beside two that
        // wait for a silent server.
        wait_until("it is handled", || {
            log.count("outcome: done") + log.count("received before") == round
        });
        if round < 4 {
            network.silence();
        }
    }
    assert_eq!(effects::<C>(place), 4);
    let handled = consumer.stop();
    // An attempt that takes too long is retried, and may still have committed.
    assert_eq!(handled.done + handled.duplicates, 4);
    assert_eq!(handled.dead, 0);
}

/// A stuck worker does not keep the process from ending.
pub(crate) fn a_stop_does_not_wait_for_a_silent_database<C: Subject>(place: &Place) {
    let network = Arc::new(Network::to(place.database_url()));
    place.declare::<C>();
    let (silent, at_commit) = std::sync::mpsc::channel();
    let (silent, shut) = (std::sync::Mutex::new(silent), Arc::clone(&network));
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              _: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            conn.batch_execute("insert into effects (note) values ('x')")?;
            // COMMIT is lost, and its result is unknown.
            shut.silence();
            silent.lock().unwrap().send(()).unwrap();
            Ok(Outcome::Done)
        },
    );
    let config = through(place, &network)
        .set("statement_timeout", "10m")
        .build()
        .unwrap();
    let consumer = place.subscribe_with(&registry, "it", &config);
    place.send(Message::new(place.topic(), 1));
    next(&at_commit);
    let begun = Instant::now();
    assert_eq!(consumer.stop().done, 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // It was not committed; its redelivery has the effect.
    network.cut();
    let consumer = place.subscribe(&noting::<C>());
    wait_until("the effect", || effects::<C>(place) == 1);
    assert_eq!(consumer.stop().done, 1);
}

/// Our time limits do not apply to a callback's own statement.
pub(crate) fn a_callback_may_take_its_time<C: Subject>(place: &Place) {
    let network = Network::to(place.database_url());
    place.declare::<C>();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              _: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            conn.batch_execute(match C::NAME {
                "PostgreSQL" => "select pg_sleep(3)",
                _ => "select sleep(3)",
            })?;
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    );
    let config = through(place, &network).build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &config);
    place.send(Message::new(place.topic(), 1));
    wait_until("the effect", || effects::<C>(place) == 1);
    assert_eq!(consumer.stop().done, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Another process handles the same message and does not finish: retries use no further thread and no
/// further connection.
pub(crate) fn a_message_that_another_holds_costs_one_thread<C: Subject>(place: &Place) {
    place.declare::<C>();
    let mut holder = place.connect::<C>();
    holder.batch_execute("begin").unwrap();
    let id = uuid::Uuid::new_v4();
    holder
        .batch_execute(&format!(
            "insert into received (id, msg_id, consumer) values ('{id}', 'it', '')"
        ))
        .unwrap();
    let config = place
        .settings()
        .set("database_timeout", "500ms")
        .set("statement_timeout", "2s")
        .set("workers", 2)
        .build()
        .unwrap();
    let (consumer, log) = place.subscribe_logged(&noting::<C>(), &config);
    place.send_raw("it", b"1");
    wait_until("others are found in the way", || {
        log.count("another transaction was in the way") >= 3
    });
    let waiting = match C::NAME {
        "PostgreSQL" => {
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'"
        }
        _ => {
            "select count(*) from information_schema.processlist
             where db = database() and info like 'insert into _received_%'"
        }
    };
    let mut look = place.connect::<C>();
    assert!(look.number(waiting) <= 2, "the first one, and the newest");
    assert_eq!(log.count("works for others"), 1, "{}", log.text());
    // Other messages are not blocked by it; InnoDB locks the gap before the row.
    place.send_raw("other", b"1");
    wait_until("the effect", || effects::<C>(place) == 1);
    holder.batch_execute("rollback").unwrap();
    wait_until("the effect", || effects::<C>(place) == 2);
    wait_until("no thread waits", || look.number(waiting) == 0);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (2, 0));
}
