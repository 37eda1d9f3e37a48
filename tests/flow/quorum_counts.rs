//! What a quorum queue counts as a delivery. At its limit, which each case sets, it gives up a message.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use diesel_outbox::admin::dead_letters::{DeadLetters, Selection};
use diesel_outbox::config::Config;
use diesel_outbox::stomp::{Client, Options, Subscribe};
use diesel_outbox::subscriber::{SubscribeError, Subscriber};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry, Shutdown};

use crate::place::{Consumer, Place, Subject, next, wait_until};
use crate::support::virtual_host::VirtualHost;

const QUORUM: &str = "x-queue-type:quorum";

fn quorum(place: &Place) -> Config {
    place
        .settings()
        .set("queue_headers", QUORUM)
        .set("dead_letter_headers", "")
        .build()
        .unwrap()
}

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

/// A subscriber whose queues exist.
fn subscribed<C: Subject>(place: &Place, registry: &Registry<C>, config: &Config) -> Consumer {
    let (consumer, log) = place.subscribe_logged(registry, config);
    wait_until("it has subscribed", || {
        log.count("subscribed destination=") == 1
    });
    consumer
}

/// Sends messages with the bodies from 0 on, and waits until all are dead letters.
fn dead_letters<C: Subject>(place: &Place, host: &VirtualHost, count: usize) {
    let consumer = subscribed(place, &fails::<C>(), &quorum(place));
    for n in 0..count {
        // The highest of three priorities come first, where queues have them.
        let message = Message::new(place.topic(), n).header("x-number", n.to_string());
        place.send(match n % 3 {
            0 => message.header("priority", "0"),
            1 => message,
            _ => message.header("priority", "4"),
        });
    }
    wait_until("all are dead letters", || {
        let queue = host.queue(&format!("DLQ.{}", place.name)).unwrap();
        queue["messages"] == count && queue["type"] == "quorum"
    });
    consumer.stop();
}

/// Reads the dead letters: their bodies and reasons, and how often each was delivered before.
fn read(place: &Place, letters: &mut DeadLetters, selection: &Selection) -> Vec<(String, u32)> {
    let found = place.runtime.block_on(letters.list(selection)).unwrap();
    let found = found.into_iter().map(|letter| {
        assert_eq!(letter.error(), "on purpose");
        assert_eq!(letter.attempts(), Some(1));
        let body = String::from_utf8(letter.body().to_vec()).unwrap();
        assert_eq!(letter.header("x-number"), Some(body.as_str()));
        let count = letter.header("x-delivery-count");
        (body, count.map_or(0, |count| count.parse().unwrap()))
    });
    found.collect()
}

/// Each reading delivers all dead letters, and leaves them.
pub(crate) fn reading_loses_no_dead_letter<C: Subject>(place: &Place) {
    const DEAD: usize = 5;
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    host.set_policy(&format!("DLQ.{}", place.name), r#"{"delivery-limit":20}"#);
    dead_letters::<C>(place, &host, DEAD);
    let mut letters = DeadLetters::of(&place.config(), &place.name).unwrap();
    let mut highest = 0;
    for reading in 0..48 {
        // Some readings look at the first one only, and some for one that is not there.
        let selection = match reading % 4 {
            1 => Selection::all().id("none"),
            _ => Selection::all(),
        };
        match reading % 4 {
            2 => {
                let see = |_: &_| std::ops::ControlFlow::Break(());
                let found = place.runtime.block_on(letters.read(&selection, see));
                assert_eq!(found.unwrap().total, 1);
            }
            3 => {
                let none = Selection::all().id("none");
                let found = place.runtime.block_on(letters.replay(&none)).unwrap();
                assert_eq!(found.selected, 0, "{reading}");
            }
            1 => assert!(read(place, &mut letters, &selection).is_empty()),
            _ => {
                // Those that the reading before has seen may still be on their way back.
                wait_until("all are there", || {
                    let found = read(place, &mut letters, &selection);
                    highest = found
                        .iter()
                        .map(|(_, count)| *count)
                        .fold(highest, u32::max);
                    let bodies: BTreeSet<_> = found.iter().map(|(body, _)| body).collect();
                    assert_eq!(bodies.len(), found.len(), "{found:?}");
                    found.len() == DEAD
                });
            }
        }
    }
    // The limit is 20.
    assert!((5..15).contains(&highest), "{highest}");
    let replayed = place.runtime.block_on(letters.replay(&Selection::all()));
    assert_eq!(replayed.unwrap().selected, DEAD);
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            let ours = payload.headers().keys();
            let ours: Vec<_> = ours.filter(|name| name.starts_with("outbox-")).collect();
            told.lock().unwrap().send(format!("{ours:?}")).unwrap();
            Ok(Outcome::Done)
        },
    );
    let consumer = place.subscribe_with(&registry, "it", &quorum(place));
    for _ in 0..DEAD {
        assert_eq!(next(&heard), "[]");
    }
    wait_until("all are received", || {
        place.counts::<C>().received == DEAD as i64
    });
    consumer.stop();
}

/// Each start of a subscriber declares the queue of dead letters, and takes none of them if there is a limit by default.
pub(crate) fn a_start_loses_no_dead_letter<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let has_limit = place.rabbitmq_version() >= (4, 0, 0);
    if has_limit {
        host.set_policy(&format!("DLQ.{}", place.name), r#"{"delivery-limit":2}"#);
    }
    dead_letters::<C>(place, &host, 1);
    for _ in 0..4 {
        let (consumer, log) = place.subscribe_logged(&fails::<C>(), &quorum(place));
        wait_until("it has subscribed", || {
            log.count("subscribed destination=") == 1
        });
        assert_eq!(log.count("with other arguments"), 0);
        consumer.stop();
    }
    // A queue with other arguments is noticed as before.
    let settings = place
        .settings()
        .set("queue_headers", QUORUM)
        .set("dead_letter_headers", "x-max-length:9");
    let (consumer, log) = place.subscribe_logged(&fails::<C>(), &settings.build().unwrap());
    wait_until("it has subscribed", || {
        log.count("exists with other arguments") == 1
    });
    consumer.stop();
    let mut letters = DeadLetters::of(&place.config(), &place.name).unwrap();
    let found = read(place, &mut letters, &Selection::all());
    match has_limit {
        true => assert_eq!(found, [("0".to_owned(), 0)]),
        false => assert_eq!(found.len(), 1, "{found:?}"),
    }
}

/// A callback that reports each message's body and count, and works until it is let go on.
fn slow<C: Subject>(told: Sender<(String, Option<String>)>) -> (Registry<C>, Sender<()>) {
    let (go_on, wait) = channel::<()>();
    let shared = Mutex::new((told, wait));
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            let shared = shared.lock().unwrap();
            let count = payload.header("x-delivery-count").map(str::to_owned);
            shared.0.send((payload.body().to_string(), count)).unwrap();
            let _ = shared.1.recv();
            Ok(Outcome::Done)
        },
    );
    (registry, go_on)
}

/// Messages that are prefetched at once: more than RabbitMQ's channels hand to a quorum queue at a time.
const PREFETCHED: usize = 40;

/// Sends messages and stops a subscriber this number of times, each time after one message. Returns how often that
/// message was counted before.
fn stops<C: Subject>(place: &Place, host: &VirtualHost, config: &Config, times: usize) -> Vec<u32> {
    for n in 0..PREFETCHED {
        place.send(Message::new(place.topic(), n));
    }
    let stop = |n| {
        let (told, heard) = channel();
        let (registry, go_on) = slow::<C>(told);
        let consumer = place.subscribe_with(&registry, "it", config);
        let (_, count) = next(&heard);
        let delivered = || host.queue(&place.name).unwrap()["messages_unacknowledged"].clone();
        wait_until("all are prefetched", || delivered() == PREFETCHED - n);
        consumer.ask_to_stop();
        drop(go_on);
        assert_eq!(consumer.stop().done, 1);
        count.map_or(0, |count| count.parse().unwrap())
    };
    (0..times).map(stop).collect()
}

/// Messages that a subscriber has prefetched and returns at its stop, although no callback began with them: up to 4.2 each
/// stop counts, from 4.3 on none.
pub(crate) fn an_orderly_stop_counts_up_to_4_2<C: Subject>(place: &Place) {
    const LIMIT: usize = 2;
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    host.set_policy(&place.name, &format!(r#"{{"delivery-limit":{LIMIT}}}"#));
    subscribed(place, &fails::<C>(), &quorum(place)).stop();
    let config = place
        .settings()
        .set("queue_headers", QUORUM)
        .set("dead_letter_headers", "")
        .set("workers", 1)
        .set("prefetch_count", PREFETCHED)
        .build()
        .unwrap();
    let counts = stops::<C>(place, &host, &config, LIMIT + 1);
    let left = PREFETCHED - counts.len();
    if place.rabbitmq_version() < (4, 3, 0) {
        assert_eq!(counts, [0, 1, 2]);
        // The others are given up at the third stop.
        let letters = format!("DLQ.{}", place.name);
        wait_until("the others are dead letters", || {
            host.queue(&letters).unwrap()["messages"] == left
        });
    } else {
        assert_eq!(counts, [0, 0, 0]);
        let (told, heard) = channel();
        let (registry, go_on) = slow::<C>(told);
        drop(go_on);
        let consumer = place.subscribe_with(&registry, "it", &config);
        for n in counts.len()..PREFETCHED {
            assert_eq!(next(&heard), (n.to_string(), None));
        }
        consumer.stop();
    }
    wait_until("none is left", || {
        host.queue(&place.name).unwrap()["messages"] == 0
    });
}

/// A message that waits for its next attempt at the stop comes back like those that were prefetched.
pub(crate) fn a_stop_between_attempts_counts_up_to_4_2<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> { Err("not yet".into()) },
    );
    let config = place.settings().set("queue_headers", QUORUM);
    let config = config.set("callback_first_delay", "1h").build().unwrap();
    let (consumer, log) = place.subscribe_logged(&fails, &config);
    wait_until("it has subscribed", || {
        log.count("subscribed destination=") == 1
    });
    place.send(Message::new(place.topic(), 1));
    wait_until("it has failed", || log.count("the callback failed") == 1);
    consumer.stop();
    let counted = place.rabbitmq_version() < (4, 3, 0);
    assert_eq!(counted_before::<C>(place, &config), counted.then_some(1));
}

/// A message whose callback runs longer than the stop waits for it counts on each version.
pub(crate) fn an_unfinished_callback_counts<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let hangs = Registry::<C>::new().on_external("it", move |_| {
        told.lock().unwrap().send(()).unwrap();
        std::future::pending::<Outcome>()
    });
    let config = place.settings().set("queue_headers", QUORUM);
    let config = config.set("shutdown_timeout", "50ms").build().unwrap();
    subscribed(place, &hangs, &config).stop();
    place.send(Message::new(place.topic(), 1));
    let subscriber =
        Subscriber::<C>::new(&config, &hangs, "it", &place.topic(), Some(&place.name)).unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let consuming = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(subscriber.run(&signal))
    });
    next(&heard);
    shutdown.stop();
    let left = consuming.join().unwrap().unwrap_err();
    assert!(matches!(left, SubscribeError::Unfinished { .. }), "{left}");
    assert_eq!(counted_before::<C>(place, &config), Some(1));
}

/// A replay watches the queue for the first message that comes back, which counts one delivery of the message that waits
/// there first.
pub(crate) fn a_replay_counts_for_the_first_message<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    dead_letters::<C>(place, &host, 1);
    place.send(Message::new(place.topic(), "first"));
    let mut letters = DeadLetters::of(&place.config(), &place.name).unwrap();
    let replayed = place.runtime.block_on(letters.replay(&Selection::all()));
    assert_eq!(replayed.unwrap().selected, 1);
    let (told, heard) = channel();
    let (registry, go_on) = slow::<C>(told);
    drop(go_on);
    let consumer = place.subscribe_with(&registry, "it", &quorum(place));
    assert_eq!(
        next(&heard),
        (r#""first""#.to_owned(), Some("1".to_owned()))
    );
    assert_eq!(next(&heard), ("0".to_owned(), None));
    consumer.stop();
}

/// Handles the one message of the queue. Returns how often it was counted before.
fn counted_before<C: Subject>(place: &Place, config: &Config) -> Option<u32> {
    let (told, heard) = channel();
    let (registry, go_on) = slow::<C>(told);
    drop(go_on);
    let consumer = place.subscribe_with(&registry, "it", config);
    let (_, count) = next(&heard);
    consumer.stop();
    count.map(|count| count.parse().unwrap())
}

/// Receives a message and ends the connection, as the end of a process does.
pub(crate) fn take_one_and_die(place: &Place) {
    let options = Options::from_url(place.broker_url()).unwrap();
    place.runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let subscribe = Subscribe {
            destination: format!("/amq/queue/{}", place.name),
            headers: vec![("prefetch-count".to_owned(), "1".to_owned())],
        };
        let mut subscription = client.subscribe(subscribe).await.unwrap();
        let delivery = tokio::time::timeout(Duration::from_secs(30), subscription.next());
        delivery.await.unwrap().unwrap();
        client.abort();
    });
}

/// A message whose connection ends with its process counts on each version.
pub(crate) fn the_end_of_a_process_counts<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    subscribed(place, &fails::<C>(), &quorum(place)).stop();
    place.send(Message::new(place.topic(), 1));
    take_one_and_die(place);
    assert_eq!(counted_before::<C>(place, &quorum(place)), Some(1));
}
