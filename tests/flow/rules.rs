//! The rules for destinations, streams and keys in the settings.

use std::collections::HashSet;

use diesel_outbox::relay::{Relay, RelayError};
use diesel_outbox::{Message, Shutdown};

use crate::faults::Running;
use crate::place::{Place, Subject, wait_until};

pub(crate) fn a_failing_destination_is_set_aside<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.reject_sends_to("/queue/rejected");
    let mut conn = place.connect::<C>();
    for n in 0..60 {
        let message = Message::new("/queue/rejected", n);
        message.publish(&mut conn).unwrap();
    }
    // After a row of the other destination.
    for destination in ["/queue/rejected", "/queue/good"] {
        let message = Message::new(destination, "k").key("k".to_owned());
        message.publish(&mut conn).unwrap();
    }
    for n in 0..40 {
        Message::new("/queue/good", n).publish(&mut conn).unwrap();
    }
    let settings = place
        .settings()
        .set("window", 1)
        .set("chunk_size", 10)
        .set("retry_first_delay", "1ms")
        .set("retry_maximum_delay", "1ms")
        .set("retry_attempts", 1000)
        .set("breaker_failures", 3)
        .set("breaker_pause", "100ms");
    let relay = Running::start::<C>(settings);
    wait_until("the others are sent", || place.counts::<C>().sent == 40);
    let spent = |conn: &mut C| conn.number("select sum(retry) from published");
    wait_until("it is tried again", || spent(&mut conn) >= 5);
    assert!(spent(&mut conn) < 30, "most rows have not been tried");
    broker.clear_faults();
    wait_until("all is sent", || place.counts::<C>().sent == 102);
    relay.stop();
    let order: Vec<String> = broker.view(|view| {
        let of_key = |body: &[u8]| body == br#""k""#;
        let sent = view.sent().iter().filter(|sent| of_key(&sent.body));
        sent.map(|sent| sent.destination.clone()).collect()
    });
    assert_eq!(order, ["/queue/rejected", "/queue/good"]);
}

pub(crate) fn a_rule_orders_a_destination<C: Subject>(place: &Place) {
    let broker = place.loopback();
    let mut conn = place.connect::<C>();
    for n in 0..300 {
        Message::new("/queue/ordered", n)
            .publish(&mut conn)
            .unwrap();
    }
    broker.disconnect_after(100);
    let relays: Vec<Running> = (0..3)
        .map(|_| {
            let settings = place.settings().set("chunk_size", 7);
            let settings = settings.set("maximum_backoff", "1s").set("window", 10);
            Running::start::<C>(settings.set("ordered_destination", "/queue/ordered"))
        })
        .collect();
    wait_until("all is sent", || place.counts::<C>().sent == 300);
    for relay in relays {
        relay.stop();
    }
    broker.view(|view| {
        let mut seen = HashSet::new();
        let mut last = -1;
        for sent in view.sent() {
            let n: i64 = std::str::from_utf8(&sent.body).unwrap().parse().unwrap();
            if seen.insert(n) {
                assert!(n > last, "{n} after {last}");
                last = n;
            }
        }
        assert_eq!(seen.len(), 300);
    });
}

pub(crate) fn a_stream_may_park_and_go_on<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.reject_sends_to("/queue/rejected");
    let mut conn = place.connect::<C>();
    for stream in ["audit", "orders"] {
        for destination in ["/queue/rejected", "/queue/good"] {
            let message = Message::new(destination, stream).stream(stream);
            let message = message.key(stream.to_owned());
            message.publish(&mut conn).unwrap();
        }
    }
    let settings = place
        .settings()
        .set("retry_of", vec!["/queue/rejected attempts=1"])
        .set("when_exhausted_of", vec!["audit=park"]);
    let config = settings.build().unwrap();
    let sent = place.relay_with::<C>(&config);
    assert_eq!((sent.sent, sent.parked), (1, 2));
    let waiting = conn.text("select stream from published where status = 1");
    assert_eq!(waiting.as_deref(), Some("orders"), "its key is blocked");
}

pub(crate) fn an_unknown_stream_is_refused<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let message = Message::new("/queue/a", 1).stream("orders");
    message.publish(&mut conn).unwrap();
    let run = |stream: &str| {
        let config = place.settings().set("stream", stream).build().unwrap();
        let relay = Relay::<C>::new(&config).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(relay.run_once(&Shutdown::new()))
    };
    let error = run("order").unwrap_err();
    assert!(matches!(error, RelayError::UnknownStream(_)));
    assert_eq!(
        error.to_string(),
        "stream `order`: no row has it; existing streams: `orders`; if rows will have it later, \
         make it known with `outbox resume --stream order`"
    );
    assert_eq!(place.counts::<C>().waiting, 1, "nothing was sent");
    assert_eq!(run("orders").unwrap().sent, 1);
    conn.batch_execute("delete from published").unwrap();
    run("orders").unwrap();
    conn.pause_stream("order", false).unwrap();
    run("order").unwrap();
}
