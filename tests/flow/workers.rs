//! Several callbacks at the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use diesel_outbox::config::Config;
use diesel_outbox::subscriber::{Subscriber, SubscriberStats};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};
#[cfg(feature = "testing")]
use diesel_outbox::{Shutdown, subscriber::SubscribeError};

use crate::consumer::Consumer;
#[cfg(feature = "testing")]
use crate::place::next;
use crate::place::{Place, Subject, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

fn note<C: Subject>(conn: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
    let id = payload.msg_id();
    conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
    Ok(Outcome::Done)
}

fn workers(place: &Place, count: usize) -> Config {
    let settings = place.settings().set("workers", count);
    settings.set("maximum_backoff", "1s").build().unwrap()
}

/// Counts running callbacks, and keeps them waiting behind a door.
#[derive(Default)]
struct Room {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Room {
    fn enter(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        let kept = self
            .changed
            .wait_timeout_while(state, PATIENCE, |(_, is_open)| !*is_open);
        assert!(!kept.unwrap().1.timed_out(), "nobody opens");
    }

    fn wait_for(&self, callbacks: usize) {
        let state = self.state.lock().unwrap();
        let there = self
            .changed
            .wait_timeout_while(state, PATIENCE, |(there, _)| *there < callbacks);
        assert!(!there.unwrap().1.timed_out(), "there are fewer");
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// The kinds of callbacks, which have workers of two kinds.
#[derive(Clone, Copy)]
enum Kind {
    Blocking,
    Async,
}

/// A callback that waits in the room with no transaction open: on SQLite there can be only one.
fn keeping<C: Subject>(room: &Arc<Room>, kind: Kind) -> Registry<C> {
    let room = Arc::clone(room);
    match kind {
        Kind::Blocking => {
            Registry::new().on_managed("it", move |conn: &mut C, payload: &Payload| {
                room.enter();
                Ok(payload.save(conn)?)
            })
        }
        Kind::Async => Registry::new().on_external("it", move |_| {
            let room = Arc::clone(&room);
            async move {
                tokio::task::spawn_blocking(move || room.enter()).await?;
                Ok::<_, diesel_outbox::BoxError>(Outcome::Done)
            }
        }),
    }
}

pub(crate) fn as_many_block_as_there_are_workers<C: Subject>(place: &Place) {
    as_many_run::<C>(place, Kind::Blocking);
}

pub(crate) fn as_many_wait_as_there_are_workers<C: Subject>(place: &Place) {
    as_many_run::<C>(place, Kind::Async);
}

fn as_many_run<C: Subject>(place: &Place, kind: Kind) {
    place.declare::<C>();
    let room = Arc::new(Room::default());
    let registry = keeping::<C>(&room, kind);
    for n in 0..6 {
        place.send(Message::new(place.topic(), n));
    }
    let consumer = place.subscribe_with(&registry, "it", &workers(place, 4));
    room.wait_for(4);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(room.state.lock().unwrap().0, 4, "no more than that");
    room.open();
    wait_until("all are done", || place.counts::<C>().received == 6);
    assert_eq!(consumer.stop().done, 6);
}

pub(crate) fn keys_keep_their_order_side_by_side<C: Subject>(place: &Place) {
    place.declare::<C>();
    let mut conn = place.connect::<C>();
    for n in 0..60 {
        let message = Message::new(place.topic(), n).key(format!("k{}", n % 5));
        message.publish(&mut conn).unwrap();
    }
    assert_eq!(place.relay::<C>().sent, 60);
    let seen = Arc::new(Mutex::new(HashMap::<String, Vec<u64>>::new()));
    let failures = AtomicUsize::new(0);
    let noted = Arc::clone(&seen);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let n = payload.body().as_u64().unwrap();
            if n.is_multiple_of(7) && failures.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                return Err("on purpose".into());
            }
            note(conn, payload)?;
            let key = payload.header("key").unwrap().to_owned();
            noted.lock().unwrap().entry(key).or_default().push(n);
            Ok(Outcome::Done)
        },
    );
    let settings = place.settings().set("workers", 8).set("prefetch_count", 60);
    let settings = settings.set("callback_attempts", 100).build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    wait_until("all effects", || effects::<C>(place) == 60);
    consumer.stop();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    for (key, numbers) in seen.iter() {
        // A transaction that was repeated may have recorded its number twice.
        let mut numbers = numbers.clone();
        numbers.dedup();
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        assert_eq!(numbers.len(), 12, "{key}");
    }
}

pub(crate) fn one_that_fails_holds_up_no_other<C: Subject>(place: &Place) {
    place.declare::<C>();
    let registry = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if payload.body() == "bad" {
                return Err("on purpose".into());
            }
            note(conn, payload)
        },
    );
    let settings = place.settings().set("workers", 2);
    let settings = settings.set("callback_first_delay", "1h");
    let settings = settings.set("retry_maximum_delay", "2h").build().unwrap();
    place.send(Message::new(place.topic(), "bad"));
    let consumer = place.subscribe_with(&registry, "it", &settings);
    for n in 0..10 {
        place.send(Message::new(place.topic(), n));
    }
    wait_until("the others' effects", || effects::<C>(place) == 10);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (10, 0));
}

pub(crate) fn a_message_that_comes_twice_at_once_has_one_effect<C: Subject>(place: &Place) {
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let registry = Registry::<C>::new().on("it", note::<C>);
    for n in 0..20 {
        for _ in 0..2 {
            place.send_raw(&format!("m{n}"), b"{}");
        }
    }
    // As many as two processes handle, each with several workers.
    let (topic, settings) = (place.topic(), workers(place, 4));
    let subscribers =
        [0, 1].map(|_| Subscriber::new(&settings, &registry, "it", &topic, None).unwrap());
    let monitors = subscribers.each_ref().map(Subscriber::monitor);
    let consumers = subscribers.map(Consumer::of);
    wait_until("all are handled", || {
        let handled = monitors.iter().map(|monitor| monitor.stats());
        handled
            .map(|handled| handled.done + handled.duplicates)
            .sum::<u64>()
            >= 40
    });
    let handled = consumers.map(Consumer::stop);
    let total = |of: fn(&SubscriberStats) -> u64| -> u64 { handled.iter().map(of).sum() };
    assert_eq!(effects::<C>(place), 20);
    assert_eq!(total(|handled| handled.done), 20);
    assert_eq!(total(|handled| handled.duplicates), 20);
    assert_eq!(total(|handled| handled.dead), 0);
    assert!(dead_letters.try_recv().is_err());
}

/// A running callback continues to its commit; the redelivery waits for it, and finds its row.
#[cfg(feature = "testing")]
pub(crate) fn what_runs_when_the_connection_is_lost_has_its_effect<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let room = Arc::new(Room::default());
    let (entered, calls) = (Arc::clone(&room), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            entered.enter();
            note(conn, payload)
        },
    );
    let consumer = place.subscribe_with(&registry, "it", &workers(place, 2));
    place.send(Message::new(place.topic(), 1));
    room.wait_for(1);
    let logins = broker.view(|view| view.logins());
    broker.disconnect_all();
    assert!(broker.wait_for(PATIENCE, |view| view.logins() > logins
        && view.unacknowledged(&place.name) == 1));
    room.open();
    assert!(broker.wait_for(PATIENCE, |view| view.unacknowledged(&place.name) == 0));
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates), (1, 1));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(effects::<C>(place), 1);
}

pub(crate) fn a_wish_to_stop_waits_for_all_that_block<C: Subject>(place: &Place) {
    stop_waits_for_all::<C>(place, Kind::Blocking);
}

pub(crate) fn a_wish_to_stop_waits_for_all_that_run<C: Subject>(place: &Place) {
    stop_waits_for_all::<C>(place, Kind::Async);
}

/// Running callbacks may finish and are acknowledged; waiting messages are left to other subscribers.
fn stop_waits_for_all<C: Subject>(place: &Place, kind: Kind) {
    place.declare::<C>();
    let room = Arc::new(Room::default());
    let registry = keeping::<C>(&room, kind);
    for n in 0..6 {
        place.send(Message::new(place.topic(), n));
    }
    let consumer = place.subscribe_with(&registry, "it", &workers(place, 3));
    room.wait_for(3);
    let stopping = std::thread::spawn(move || consumer.stop());
    std::thread::sleep(Duration::from_millis(100));
    assert!(!stopping.is_finished());
    room.open();
    assert_eq!(stopping.join().unwrap().done, 3);
    assert_eq!(place.counts::<C>().received, 3);
    let rest = place.subscribe_with(&Registry::<C>::new(), "store", &place.config());
    wait_until("the rest", || place.counts::<C>().received == 6);
    let handled = rest.stop();
    assert_eq!((handled.done, handled.duplicates), (3, 0));
}

/// Only attempts that ended with the process are counted, however often attempts fail.
#[cfg(feature = "testing")]
pub(crate) fn failing_over_and_over_kills_nobody<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let (calls, is_well) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counted, works) = (Arc::clone(&calls), Arc::clone(&is_well));
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            if works.load(Ordering::SeqCst) {
                return note(conn, payload);
            }
            Err("on purpose".into())
        },
    );
    let settings = place.settings().set("workers", 2).set("delivery_limit", 1);
    let settings = settings.set("callback_attempts", 1000);
    let settings = settings.set("callback_first_delay", "20ms");
    let settings = settings.set("maximum_backoff", "1s").build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    place.send(Message::new(place.topic(), 1));
    for _ in 0..4 {
        let before = calls.load(Ordering::SeqCst);
        wait_until("it fails", || calls.load(Ordering::SeqCst) > before + 2);
        let logins = broker.view(|view| view.logins());
        broker.disconnect_all();
        assert!(broker.wait_for(PATIENCE, |view| view.logins() > logins
            && view.unacknowledged(&place.name) == 1));
    }
    is_well.store(true, Ordering::SeqCst);
    wait_until("its effect", || effects::<C>(place) == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    let mut conn = place.connect::<C>();
    assert_eq!(conn.number("select count(*) from outbox_deliveries"), 0);
}

/// Callbacks that still run at the end of `shutdown_timeout` are abandoned by a process that lives.
#[cfg(feature = "testing")]
pub(crate) fn being_left_at_a_stop_kills_nobody<C: Subject>(place: &Place) {
    place.declare::<C>();
    let (calling, called) = std::sync::mpsc::channel();
    let calling = Mutex::new(calling);
    let hangs = Registry::<C>::new().on_external("it", move |_| {
        calling.lock().unwrap().send(()).unwrap();
        std::future::pending::<Outcome>()
    });
    let settings = place.settings().set("delivery_limit", 1);
    let settings = settings.set("shutdown_timeout", "50ms").build().unwrap();
    place.send(Message::new(place.topic(), 1));
    for _ in 0..4 {
        let topic = place.topic();
        let subscriber = Subscriber::<C>::new(&settings, &hangs, "it", &topic, None).unwrap();
        let shutdown = Shutdown::new();
        let signal = shutdown.clone();
        let consuming = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(subscriber.run(&signal))
        });
        next(&called);
        shutdown.stop();
        let left = consuming.join().unwrap().unwrap_err();
        assert!(matches!(left, SubscribeError::Unfinished { .. }), "{left}");
    }
    let consumer = place.subscribe_with(&Registry::<C>::new().on("it", note), "it", &settings);
    wait_until("its effect", || effects::<C>(place) == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    let mut conn = place.connect::<C>();
    assert_eq!(conn.number("select count(*) from outbox_deliveries"), 0);
}
