//! Functions of the user that a relay calls for its rows.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use diesel_outbox::relay::Relay;
use diesel_outbox::{Message, Shutdown};

use crate::place::{Place, Subject, next};

fn relay<C: Subject>(place: &Place) -> Relay<C> {
    let settings = place
        .settings()
        .set("retry_first_delay", "20ms")
        .set("retry_maximum_delay", "20ms")
        .set("retry_attempts", 3);
    Relay::new(&settings.build().unwrap()).unwrap()
}

pub(crate) fn hooks_are_told_what_became_of_each_row<C: Subject>(place: &Place) {
    place.loopback().reject_sends_to("/queue/rejected");
    let mut conn = place.connect::<C>();
    let good = Message::new(place.topic(), "good").key("k".to_owned());
    let good = good.publish(&mut conn).unwrap();
    let bad = Message::new("/queue/rejected", "bad")
        .publish(&mut conn)
        .unwrap();
    let (sender, events) = channel();
    let sender = Arc::new(Mutex::new(sender));
    let to = |what: &'static str| {
        let sender = Arc::clone(&sender);
        move |row: &diesel_outbox::relay::RowEvent| {
            let reason = row.reason.clone().unwrap_or_default();
            sender
                .lock()
                .unwrap()
                .send((what, row.id, row.body.clone(), reason))
                .unwrap();
        }
    };
    let relay = relay::<C>(place)
        .on_published(to("published"))
        .on_failed(to("failed"))
        .on_parked(to("parked"));
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = std::thread::spawn(move || place_runtime().block_on(relay.run(&signal)));
    let mut fates = Vec::new();
    for _ in 0..4 {
        let (what, id, body, reason) = next(&events);
        if id == good {
            assert_eq!((body.as_str(), reason.as_str()), ("\"good\"", ""));
        } else {
            assert_eq!((id, body.as_str()), (bad, "\"bad\""));
            assert!(reason.contains("rejected"), "{reason}");
        }
        fates.push(what);
    }
    shutdown.stop();
    running.join().unwrap().unwrap();
    fates.sort_unstable();
    assert_eq!(fates, ["failed", "failed", "parked", "published"]);
}

pub(crate) fn a_hook_that_panics_or_blocks_harms_nothing<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    for n in 0..300 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    // It continues when this is dropped.
    let (gate, closed) = channel::<()>();
    let closed = Mutex::new(closed);
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let relay = relay::<C>(place).on_published(move |row| {
        if row.body == "0" {
            panic!("on purpose");
        }
        let _ = closed.lock().unwrap().recv();
        sender.lock().unwrap().send(row.seq).unwrap();
    });
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = std::thread::spawn(move || place_runtime().block_on(relay.run(&signal)));
    crate::place::wait_until("all is sent", || place.counts::<C>().sent == 300);
    drop(gate);
    let seen: BTreeSet<i64> = (0..299).map(|_| next(&events)).collect();
    assert_eq!(seen.len(), 299, "each of the others once");
    shutdown.stop();
    assert_eq!(running.join().unwrap().unwrap().sent, 300);
}

/// It is called for no more rows than fit into a quarter of the memory; the log has the number of the others.
pub(crate) fn a_slow_hook_keeps_no_more_than_its_share<C: Subject>(place: &Place) {
    const LIMIT: usize = 1 << 20;
    let mut conn = place.connect::<C>();
    let body = "x".repeat(50_000);
    for _ in 0..60 {
        let message = Message::new(place.topic(), &body);
        message.publish(&mut conn).unwrap();
    }
    let (gate, closed) = channel::<()>();
    let closed = Mutex::new(closed);
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let config = place.settings().set("memory_limit", LIMIT).build();
    let relay = Relay::<C>::new(&config.unwrap())
        .unwrap()
        .on_published(move |row| {
            let _ = closed.lock().unwrap().recv();
            sender.lock().unwrap().send(row.body.len()).unwrap();
        });
    let log = crate::log::Log::default();
    let collected = log.clone();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = std::thread::spawn(move || {
        let _guard = collected.collect(tracing::Level::WARN);
        place_runtime().block_on(relay.run(&signal))
    });
    crate::place::wait_until("all is sent", || place.counts::<C>().sent == 60);
    drop(gate);
    shutdown.stop();
    assert_eq!(running.join().unwrap().unwrap().sent, 60);
    let bytes: Vec<usize> = events.iter().collect();
    assert!(!bytes.is_empty() && bytes.iter().sum::<usize>() <= LIMIT / 4);
    let untold = format!("rows={}", 60 - bytes.len());
    assert_eq!(log.count(&untold), 1, "{}", log.text());
}

fn place_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}
