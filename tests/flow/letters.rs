//! The headers of dead letters, and what dead letters keep.

use diesel_outbox::stomp::{Broker, SendFrame};
use diesel_outbox::{Message, Outcome, Payload, Permanent, Registry};

use crate::dead_letters::{command, run};
use crate::place::{Place, Subject, next, wait_until};

/// By NACK: unchanged, and without a reason.
pub(crate) fn those_of_the_broker_lack_a_reason<C: Subject>(place: &Place) {
    place.declare::<C>();
    let letters = place.letters_of_the_broker();
    let registry = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    let settings = place.settings().set("dead_letter", "broker");
    let consumer = place.subscribe_with(&registry, "it", &settings.build().unwrap());
    let id = place.send(Message::new(place.topic(), 1));
    let letter = next(&letters);
    assert_eq!(letter.header("dop-msg-id"), Some(id.to_string().as_str()));
    assert_eq!(letter.header("outbox-error"), None);
    assert_eq!(consumer.stop().dead, 1);
}

/// `list` says what is missing, and how to get it.
#[cfg(feature = "sqlite")]
pub(crate) fn a_list_says_what_letters_lack<C: Subject>(place: &Place) {
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    let lacks = "1 of them have no reason, attempts or time of the last failure";
    for (count, mode) in [(1, "outbox"), (2, "broker")] {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let consumer = place.subscribe_with(&fails, "it", &settings);
        place.send(Message::new(place.topic(), mode));
        wait_until("it is a dead letter", || {
            let said = run(place, "list", &[]).1;
            said.contains(&format!("{count} listed of {count} in"))
        });
        consumer.stop();
        let said = command(place, "list", &[]);
        assert_eq!(said.contains(lacks), mode == "broker", "{said}");
    }
    let said = command(place, "list", &["--error", "on purpose"]);
    assert!(
        said.contains("1 listed of 2") && !said.contains("have no reason"),
        "{said}"
    );
}

/// The writer's headers are restored by a replay. The marker of a reader is recognised by
/// more than its header.
pub(crate) fn a_writers_headers_survive_a_replay<C: Subject>(place: &Place) {
    let own = [
        ("priority", "7"),
        ("timestamp", "1234567890"),
        ("type", "order"),
        ("reply-to", "/queue/answers"),
        ("correlation-id", "c-1"),
        ("outbox-note", "mine"),
        ("outbox-marker", "mine too"),
        ("x-note", "x"),
    ];
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    let broker = place.broker();
    let mut frame = SendFrame::new(place.topic(), "1").header("dop-msg-id", "with headers");
    for (name, value) in own {
        frame = frame.header(name, value);
    }
    // Headers that would delete the dead letter, or the message when it is replayed.
    frame = match broker {
        Broker::ActiveMq => {
            let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(20);
            frame.header("expires", soon.timestamp_millis().to_string())
        }
        _ => frame.header("expiration", "20000"),
    };
    let names_user = broker == Broker::RabbitMq;
    if names_user {
        frame = frame.header("user-id", "guest");
    }
    let consumer = place.subscribe(&fails);
    place.send_frame(frame);
    for _ in 0..2 {
        wait_until("it is a dead letter, and stays", || {
            run(place, "list", &[]).1.contains("1 listed of 1 in DLQ.")
        });
    }
    assert_eq!(consumer.stop().dead, 1);
    let shown = command(place, "show", &[]);
    assert_eq!(
        shown.contains("outbox-user-id: guest"),
        names_user,
        "{shown}"
    );
    assert!(command(place, "replay", &["--all"]).contains("1 sent back of 1"));
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let calm = Registry::<C>::new().on(
        "it",
        move |_: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            sender.lock().unwrap().send(payload.clone())?;
            Ok(Outcome::Done)
        },
    );
    let consumer = place.subscribe(&calm);
    let payload = next(&receiver);
    for (name, value) in own {
        assert_eq!(payload.header(name), Some(value), "{name}");
    }
    assert_eq!(payload.header("expiration"), None);
    assert_eq!(payload.header("expires").unwrap_or("0"), "0");
    assert_eq!(payload.header("user-id"), None);
    let found = payload
        .headers()
        .keys()
        .filter(|name| name.starts_with("outbox-"));
    assert_eq!(found.count(), 2, "{:?}", payload.headers());
    consumer.stop();
}
