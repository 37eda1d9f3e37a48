//! What a monitor shows of a running subscriber.

use std::sync::Mutex;

use diesel_outbox::subscriber::{BrokerConnection, Subscriber};
use diesel_outbox::{Message, Payload, Registry};

use crate::place::{Consumer, Place, Subject, next, wait_until};

pub(crate) fn a_monitor_shows_what_a_subscriber_does<C: Subject>(place: &Place) {
    place.declare::<C>();
    let (calling, called) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<Result<(), String>>();
    let (calling, released) = (Mutex::new(calling), Mutex::new(released));
    let registry = Registry::<C>::new().on("it", move |_: &mut C, _: &Payload| {
        calling.lock().unwrap().send(()).unwrap();
        released.lock().unwrap().recv().unwrap()
    });
    let settings = place.settings().set("callback_attempts", 1);
    let settings = settings.set("prefetch_count", 10).build().unwrap();
    let topic = place.topic();
    let subscriber = Subscriber::<C>::new(&settings, &registry, "it", &topic, None).unwrap();
    let monitor = subscriber.monitor();
    assert_eq!(subscriber.status().connection, BrokerConnection::NotStarted);
    let consumer = Consumer::of(subscriber);
    let is_connected = || monitor.status().connection == BrokerConnection::Connected;
    wait_until("it is connected", is_connected);
    for n in 1..=3 {
        place.send(Message::new(place.topic(), n));
    }
    next(&called);
    wait_until("all have arrived", || monitor.status().unfinished == 3);
    assert!(monitor.status().running > 0);
    release.send(Err("on purpose".to_owned())).unwrap();
    next(&called);
    release.send(Ok(())).unwrap();
    next(&called);
    wait_until("two are handled", || {
        let stats = monitor.stats();
        (stats.dead, stats.done) == (1, 1)
    });
    let status = monitor.status();
    assert!(status.handled_per_second > 0.0, "{status:?}");
    assert_eq!(status.last_error.unwrap().text, "on purpose");
    place.loopback().disconnect_all();
    wait_until("the cut is shown", || {
        let error = monitor.status().last_error;
        error.is_some_and(|error| error.text != "on purpose")
    });
    wait_until("it is connected again", is_connected);
    release.send(Ok(())).unwrap();
    wait_until("the effect", || monitor.stats().done == 2);
    let stats = consumer.stop();
    let status = monitor.status();
    assert_eq!(status.connection, BrokerConnection::Stopped);
    assert_eq!((status.unfinished, status.running), (0, 0));
    assert_eq!(status.stats, stats);
}
