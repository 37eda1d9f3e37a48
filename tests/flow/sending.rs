//! Sending.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use chrono::{TimeDelta, Utc};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};
use serde_json::json;

use crate::place::{Place, Subject, next};

pub(crate) fn a_relay_sends_what_was_saved_and_nothing_else<C: Subject>(place: &Place) {
    let (sender, received) = channel();
    let sender = Mutex::new(sender);
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            sender.lock().unwrap().send(payload.clone())?;
            Ok(Outcome::Done)
        },
    );
    place.declare::<C>();
    let consumer = place.subscribe(&registry);
    let mut conn = place.connect::<C>();
    let undone = conn.transaction::<(), BoxError, _>(|conn| {
        Message::new(place.topic(), "never").publish(conn)?;
        Err("rolled back".into())
    });
    assert!(undone.is_err());
    let mut ids = Vec::new();
    for n in 0..50 {
        let message = Message::new(place.topic(), json!({"n": n, "text": "ä\n:\\"}))
            .header("own", "a:b\\c\nd ä")
            .key(Some("k".to_owned()));
        ids.push(message.publish(&mut conn).unwrap().to_string());
    }
    let sent = place.relay::<C>();
    assert_eq!((sent.sent, sent.failed, sent.parked), (50, 0, 0));
    for (n, id) in ids.iter().enumerate() {
        let payload = next(&received);
        assert_eq!(payload.msg_id(), id, "in order");
        assert_eq!(payload.body(), &json!({"n": n, "text": "ä\n:\\"}));
        assert_eq!(payload.header("own"), Some("a:b\\c\nd ä"));
        assert_eq!(payload.header("content-type"), Some("application/json"));
        assert_eq!(payload.header("dop-msg-type"), Some("Published"));
        assert_eq!(
            payload.header("dop-msg-destination"),
            Some(place.topic().as_str())
        );
    }
    assert_eq!(consumer.stop().done, 50);
    let counts = place.counts::<C>();
    assert_eq!((counts.sent, counts.waiting), (50, 0));
    let unconfirmed =
        "select count(*) from published where sent_at is null or lease_token is not null";
    assert_eq!(conn.number(unconfirmed), 0);
}

pub(crate) fn an_expired_row_is_parked<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    Message::new(place.topic(), 1)
        .expires_at(Utc::now() - TimeDelta::seconds(5))
        .publish(&mut conn)
        .unwrap();
    let sent = place.relay::<C>();
    assert_eq!((sent.sent, sent.parked), (0, 1));
    let reason = conn.text("select last_error from published where status = -1");
    assert_eq!(reason.as_deref(), Some("expired"));
}

pub(crate) fn a_producer_sends_without_an_outbox<C: Subject>(place: &Place) {
    place.declare::<C>();
    let id = place.send(Message::new(place.topic(), json!({"a": 1})).header("x", "y"));
    let (sender, received) = channel();
    let sender = Mutex::new(sender);
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            sender.lock().unwrap().send(payload.clone())?;
            Ok(Outcome::Done)
        },
    );
    let consumer = place.subscribe(&registry);
    let payload = next(&received);
    assert_eq!(payload.msg_id(), id.to_string());
    assert_eq!(payload.body(), &json!({"a": 1}));
    assert_eq!(payload.header("x"), Some("y"));
    consumer.stop();
    assert_eq!(place.counts::<C>().waiting, 0);
}

pub(crate) fn old_rows_are_deleted_once_in_the_interval<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let age = |conn: &mut C| {
        conn.batch_execute("update published set status = 2, added = '2001-01-01 00:00:00.000000'")
            .unwrap();
    };
    Message::new(place.topic(), 1).publish(&mut conn).unwrap();
    age(&mut conn);
    place.relay::<C>();
    assert_eq!(place.counts::<C>().sent, 0, "deleted");
    Message::new(place.topic(), 1).publish(&mut conn).unwrap();
    age(&mut conn);
    place.relay::<C>();
    assert_eq!(place.counts::<C>().sent, 1, "not again on the same day");
}

pub(crate) fn the_first_broker_that_answers_is_taken<C: Subject>(place: &Place) {
    Message::new(place.topic(), 1)
        .publish(&mut place.connect::<C>())
        .unwrap();
    // Nobody listens on port 1.
    let brokers = format!("stomp://127.0.0.1:1,{}", place.broker_url());
    let config = place.settings().set("stomp_url", brokers).build().unwrap();
    assert_eq!(place.relay_with::<C>(&config).sent, 1);
}

pub(crate) fn a_row_too_large_for_the_broker_is_parked<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let large = Message::new(place.topic(), "x".repeat(200));
    let large = large.key("k".to_owned()).publish(&mut conn).unwrap();
    Message::new(place.topic(), "small")
        .publish(&mut conn)
        .unwrap();
    let config = place.settings().set("maximum_message_size", 100).build();
    let config = config.unwrap();
    let sent = place.relay_with::<C>(&config);
    assert_eq!((sent.sent, sent.parked), (1, 1));
    let reason = conn.text(&format!(
        "select last_error from published where id = '{large}'"
    ));
    let reason = reason.unwrap();
    assert!(
        reason.contains("202 bytes") && reason.contains("maximum_message_size"),
        "{reason}"
    );
}
