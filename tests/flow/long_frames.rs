//! Frames that are longer than a broker accepts: RabbitMQ 4 closes the connection at more than 4 MiB by default.

use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry};

use crate::dead_letters::{command, run};
use crate::place::{Place, Subject, wait_until};

/// RabbitMQ's default.
const LIMIT: usize = 4 << 20;

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

/// Sends a message near the limit, which the headers of a dead letter exceed, and one behind it.
fn send(place: &Place) {
    let body = format!("\"{}\"", "x".repeat(LIMIT - 502));
    place.send_raw("long", body.as_bytes());
    place.send_raw("behind", b"2");
}

/// The broker moves a message whose dead letter is too long, and nothing waits for it.
pub(crate) fn a_dead_letter_that_is_too_long_is_left_to_the_broker<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    broker.limit_frames(LIMIT);
    let settings = place.settings().set("maximum_backoff", "1s");
    let consumer = place.subscribe_with(&fails::<C>(), "it", &settings.build().unwrap());
    send(place);
    let letters = format!("DLQ.{}", place.name);
    wait_until("both are dead letters", || {
        broker.view(|view| view.ready(&letters) == 2)
    });
    assert_eq!(consumer.stop().dead, 2);
    broker.view(|view| {
        let long = view
            .messages(&letters)
            .find(|letter| letter.header("dop-msg-id") == Some("long"));
        let long = long.unwrap();
        assert_eq!(long.header("x-first-death-reason"), Some("rejected"));
        assert_eq!(long.body.len(), LIMIT - 500);
    });
}

/// A replay names the message that the broker does not accept, and sends back those before and behind it.
pub(crate) fn a_replay_says_which_message_is_too_long<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let settings = place.settings().set("dead_letter", "broker");
    let consumer = place.subscribe_with(&fails::<C>(), "it", &settings.build().unwrap());
    place.send_raw("before", b"0");
    send(place);
    let letters = format!("DLQ.{}", place.name);
    wait_until("all are dead letters", || {
        broker.view(|view| view.ready(&letters) == 3)
    });
    assert_eq!(consumer.stop().dead, 3);
    broker.limit_frames(LIMIT - 500);
    let (code, output) = run(place, "replay", &["--all"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("the message long was not sent back: the connection"),
        "{output}"
    );
    assert!(output.contains("stomp.max_frame_size"), "{output}");
    let list = run(place, "list", &[]).1;
    assert!(list.contains("1 listed of 1"), "{list}");
    assert!(list.contains("long"), "{list}");
    assert_eq!(broker.view(|view| view.ready(&place.name)), 2);
    // With a higher limit it goes back, too.
    broker.clear_faults();
    let (code, output) = run(place, "replay", &["--all"]);
    assert_eq!(code, Some(0), "{output}");
    // The command itself has watched the queue, and held one of them.
    wait_until("all are there", || {
        broker.view(|view| view.ready(&place.name)) == 3
    });
}

/// A row that is too long for the broker is parked after its attempts and says which setting limits it.
pub(crate) fn a_row_that_is_too_long_names_the_limit<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    broker.limit_frames(LIMIT);
    let mut conn = place.connect::<C>();
    let long = "x".repeat(LIMIT);
    Message::new(place.topic(), long)
        .publish(&mut conn)
        .unwrap();
    Message::new(place.topic(), 2).publish(&mut conn).unwrap();
    let settings = place.settings().set("retry_attempts", 1);
    let stats = place.relay_with::<C>(&settings.build().unwrap());
    assert_eq!(stats.sent, 1);
    let error = conn.text("select last_error from published where status = -1");
    let error = error.unwrap();
    assert!(
        error.contains("stomp.max_frame_size (4194304 bytes by default)"),
        "{error}"
    );
}

/// The same on RabbitMQ itself. Up to 3.13 it has no limit for frames.
pub(crate) fn rabbitmq_moves_a_message_whose_dead_letter_is_too_long<C: Subject>(place: &Place) {
    let has_limit = place.rabbitmq_version() >= (4, 0, 0);
    place.declare::<C>();
    let settings = place.settings().set("maximum_backoff", "1s");
    let consumer = place.subscribe_with(&fails::<C>(), "it", &settings.build().unwrap());
    send(place);
    wait_until("both are dead letters", || {
        command(place, "list", &[]).contains("2 listed of 2")
    });
    assert_eq!(consumer.stop().dead, 2);
    let shown = command(place, "show", &["--id", "long"]);
    let has_reason = shown.contains("outbox-error");
    assert_ne!(has_reason, has_limit, "{}", &shown[..shown.len().min(3000)]);
    // As short as it was sent, both go back.
    let replayed = command(place, "replay", &["--all"]);
    assert!(replayed.contains("2 sent back of 2"), "{replayed}");
    let works = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> { Ok(Outcome::Done) },
    );
    let consumer = place.subscribe(&works);
    wait_until("both are handled", || place.counts::<C>().received == 2);
    assert_eq!(consumer.stop().done, 2);
    let mut conn = place.connect::<C>();
    let length = conn.number("select max(length(body)) from received");
    assert_eq!(length, i64::try_from(LIMIT - 500).unwrap());
}

/// A row that is too long is parked by name, and does not stop others.
pub(crate) fn rabbitmq_refuses_a_row_that_is_too_long<C: Subject>(place: &Place) {
    let has_limit = place.rabbitmq_version() >= (4, 0, 0);
    place.declare::<C>();
    let mut conn = place.connect::<C>();
    Message::new(place.topic(), "x".repeat(LIMIT))
        .publish(&mut conn)
        .unwrap();
    Message::new(place.topic(), 2).publish(&mut conn).unwrap();
    let settings = place.settings().set("retry_attempts", 1);
    let stats = place.relay_with::<C>(&settings.build().unwrap());
    assert_eq!(stats.sent, if has_limit { 1 } else { 2 });
    let error = conn.text("select last_error from published where status = -1");
    let names_it =
        |error: String| error.contains("stomp.max_frame_size (4194304 bytes by default)");
    assert_eq!(error.map(names_it), has_limit.then_some(true));
}
