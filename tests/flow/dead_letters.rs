//! What becomes of messages that are given up.

use diesel_outbox::{BoxError, Json, Message, Meta, Outcome, Payload, Permanent, Registry};
use serde_json::json;

use crate::place::{Place, Subject, next, wait_until};

#[derive(serde::Deserialize)]
struct Order {
    id: i32,
}

fn created<C: Subject>(
    conn: &mut C,
    Json(order): Json<Order>,
    meta: &Meta,
) -> Result<Outcome, BoxError> {
    let note = format!("{} {}", order.id, meta.msg_id().len());
    conn.batch_execute(&format!("insert into effects (note) values ('{note}')"))?;
    Ok(Outcome::Done)
}

pub(crate) fn a_body_that_does_not_fit_is_given_up_at_once<C: Subject>(place: &Place) {
    place.declare::<C>();
    let letters = place.letters();
    let registry = Registry::<C>::new().on_json("it", created::<C>);
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.set("callback_attempts", 1000);
    let settings = settings.set("callback_first_delay", "1h");
    let settings = settings.set("retry_maximum_delay", "1h");
    let consumer = place.subscribe_with(&registry, "it", &settings.build().unwrap());
    for body in [json!({"id": "seven"}), json!({"id": 7})] {
        place.send(Message::new(place.topic(), body));
    }
    let letter = next(&letters);
    let why = letter.header("outbox-error").unwrap();
    assert!(why.contains("expected i32"), "{why}");
    assert_eq!(letter.header("outbox-attempts"), Some("1"));
    let mut conn = place.connect::<C>();
    wait_until("the other effect", || {
        conn.number("select count(*) from effects") == 1
    });
    assert_eq!(
        conn.text("select note from effects").as_deref(),
        Some("7 36")
    );
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 1));
}

pub(crate) fn a_letter_tells_its_story<C: Subject>(place: &Place) {
    place.declare::<C>();
    let letters = place.letters();
    let registry = Registry::<C>::new().on("it", |_: &mut C, payload: &Payload| {
        if payload.body() == "useless" {
            return Ok(Outcome::Discard("of no use".to_owned()));
        }
        Err("on\npurpose".into())
    });
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.set("consumer", "billing").build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    let message = Message::new(place.topic(), json!([1])).header("x", "y: z\n");
    let id = place.send(message);
    let letter = next(&letters);
    let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(header("dop-msg-id"), id.to_string());
    assert_eq!(header("x"), "y: z\n");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("outbox-error"), "on\npurpose");
    assert_eq!(header("outbox-attempts"), "2");
    assert_eq!(header("outbox-consumer"), "billing");
    assert_eq!(header("outbox-queue"), place.name);
    assert_eq!(header("outbox-destination"), place.topic());
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(header(name)).unwrap();
    assert!(time("outbox-first-failure") <= time("outbox-last-failure"));
    assert_eq!(&letter.body[..], b"[1]");
    place.send(Message::new(place.topic(), "useless"));
    let letter = next(&letters);
    assert_eq!(letter.header("outbox-error"), Some("discarded: of no use"));
    let handled = consumer.stop();
    assert_eq!((handled.dead, handled.discarded), (1, 1));
    assert_eq!(place.counts::<C>().received, 0);
}

pub(crate) fn where_nobody_wants_them_they_are_dropped<C: Subject>(place: &Place) {
    place.declare::<C>();
    let registry = Registry::<C>::new().on("it", |conn: &mut C, payload: &Payload| {
        if payload.body() == "last" {
            conn.batch_execute("insert into effects (note) values ('last')")?;
            return Ok(Outcome::Done);
        }
        Err(Permanent::new("on purpose").into())
    });
    let settings = place.settings().set("dead_letter", "none").build().unwrap();
    let letters = place.dead_letters();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    place.send(Message::new(place.topic(), 1));
    place.send(Message::new(place.topic(), "last"));
    wait_until("the last effect", || {
        let mut conn = place.connect::<C>();
        conn.number("select count(*) from effects") == 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 1));
    assert!(letters.try_recv().is_err());
}
