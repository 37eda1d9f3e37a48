//! Messages of AMQP publishers that a STOMP client cannot decode, or that exceed its limits.

use std::process::Command;

use diesel_outbox::config::{Builder, Config};
use diesel_outbox::subscriber::{Subscriber, SubscriberStats};
use diesel_outbox::{BoxError, Outcome, Payload, Registry};

use crate::amqp::Publisher;
use crate::place::{Consumer, Place, Subject, next, wait_until};

/// A header's name and value.
type Header<'a> = (&'a [u8], &'a [u8]);

/// The longest body that is accepted.
const BODY: usize = 2048;

fn settings(place: &Place, dead_letter: &str) -> Config {
    let limited = |builder: Builder| builder.set("maximum_body_size", BODY);
    let settings = limited(place.settings()).set("dead_letter", dead_letter);
    settings.build().unwrap()
}

fn registry<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let note = payload.body().to_string();
            conn.batch_execute(&format!("insert into effects (note) values ('{note}')"))?;
            Ok::<_, BoxError>(Outcome::Done)
        },
    )
}

/// One of each kind, each followed by a valid message.
fn publish(place: &Place) -> usize {
    let many: Vec<(Vec<u8>, Vec<u8>)> = (0..1500)
        .map(|n| (format!("h{n}").into_bytes(), b"v".to_vec()))
        .collect();
    let many: Vec<Header<'_>> = many.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    let bad: [(&[Header<'_>], &[u8]); 5] = [
        (&[(b"x", b"\xff\xfe"), (b"dop-msg-id", b"value")], b"1"),
        (&[(b"na\xc3me", b"v"), (b"dop-msg-id", b"name")], b"1"),
        (&[(b"", b"v"), (b"dop-msg-id", b"empty")], b"1"),
        (&many, b"1"),
        (&[(b"dop-msg-id", b"long")], &vec![b'7'; 100 * BODY]),
    ];
    let mut publisher = Publisher::connect(place.broker_url());
    for (n, (headers, body)) in bad.iter().enumerate() {
        publisher.publish(&place.name, headers, body);
        let id = format!("well-{n}");
        publisher.publish(&place.name, &[(b"dop-msg-id", id.as_bytes())], b"\"well\"");
    }
    publisher.close();
    bad.len()
}

fn all_others_are_handled<C: Subject>(
    place: &Place,
    consumer: Consumer,
    well: usize,
) -> SubscriberStats {
    wait_until("those behind them are handled", || {
        place.connect::<C>().number("select count(*) from effects") == well as i64
    });
    consumer.stop()
}

fn command(place: &Place, task: &str, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(["dead-letters", task, &place.name])
        .args(more)
        .env("STOMP_URL", place.broker_url())
        .env("OUTBOX_MAXIMUM_BODY_SIZE", BODY.to_string())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Whoever writes the dead letters: the broker moves the message to them unchanged.
pub(crate) fn they_go_to_the_dead_letters<C: Subject>(place: &Place) {
    place.declare::<C>();
    for mode in ["broker", "outbox"] {
        let count = publish(place);
        let consumer = place.subscribe_with(&registry::<C>(), "it", &settings(place, mode));
        let handled = all_others_are_handled::<C>(place, consumer, count);
        assert_eq!((handled.done, handled.dead), (count as u64, count as u64));
        let mut conn = place.connect::<C>();
        conn.batch_execute("delete from effects").unwrap();
        conn.batch_execute("delete from received").unwrap();

        // The commands get past them too.
        let list = command(place, "list", &[]);
        assert!(list.contains("5 listed of 5"), "{list}");
        let rows = list
            .lines()
            .filter(|line| line.contains("the message cannot be read: "));
        assert_eq!(rows.count(), count, "{list}");
        assert!(
            list.contains("the body takes more than 2048 bytes"),
            "{list}"
        );
        assert!(list.contains("there are more than 1000 headers"), "{list}");
        let shown = command(place, "show", &["--id", "value"]);
        assert!(shown.contains("a header is not UTF-8"), "{shown}");
        assert!(shown.contains("x: \u{fffd}\u{fffd}"), "{shown}");
        let replayed = command(place, "replay", &["--all"]);
        assert!(replayed.contains("0 sent back of 5"), "{replayed}");
        assert!(replayed.contains("5 more cannot be read"), "{replayed}");
        let dropped = command(place, "drop", &["--all"]);
        assert!(dropped.contains("5 deleted of 5"), "{dropped}");
    }
}

pub(crate) fn where_nobody_wants_them_they_are_acknowledged<C: Subject>(place: &Place) {
    place.declare::<C>();
    let count = publish(place);
    let consumer = place.subscribe_with(&registry::<C>(), "it", &settings(place, "none"));
    let handled = all_others_are_handled::<C>(place, consumer, count);
    assert_eq!((handled.done, handled.dead), (count as u64, count as u64));
    assert!(command(place, "list", &[]).contains("0 listed of 0"));
}

/// Another client's queue, which need not have dead letters at the broker: the decoded part of a message
/// is sent there, with the defect.
pub(crate) fn from_a_queue_of_others_their_letters_are_ours<C: Subject>(place: &Place) {
    place.declare::<C>();
    let count = publish(place);
    let destination = format!("/amq/queue/{}", place.name);
    let name = Some(place.name.as_str());
    let settings = settings(place, "outbox");
    let subscriber = Subscriber::new(&settings, &registry::<C>(), "it", &destination, name);
    let letters = place.dead_letters();
    let consumer = Consumer::of(subscriber.unwrap());
    for _ in 0..count {
        let letter = next(&letters);
        let why = letter.header("outbox-error").unwrap();
        let defects = letter.header("outbox-defects").unwrap();
        // RabbitMQ 4.3 does not accept all headers, which is one more defect.
        let defect = why.strip_prefix("the message cannot be read: ").unwrap();
        assert!(defects.starts_with(defect), "{why}: {defects}");
        assert!(letter.headers.len() < 1000 && letter.body.len() <= BODY);
        assert_eq!(letter.header("x-first-death-queue"), None, "by NACK");
    }
    let handled = all_others_are_handled::<C>(place, consumer, count);
    assert_eq!(handled.dead, count as u64);
}

/// RabbitMQ 3.10 delivers one of two headers with the same name, and writes the true one after it.
pub(crate) fn a_length_that_the_sender_makes_up_is_not_heeded<C: Subject>(place: &Place) {
    place.declare::<C>();
    let mut publisher = Publisher::connect(place.broker_url());
    let made_up: [Header<'_>; 2] = [(b"content-length", b"5"), (b"content-length", b"1")];
    for n in 0..3 {
        let body = format!("\"body {n}\"");
        publisher.publish(&place.name, &made_up, body.as_bytes());
    }
    publisher.close();
    let consumer = place.subscribe(&registry::<C>());
    let handled = all_others_are_handled::<C>(place, consumer, 3);
    assert_eq!((handled.done, handled.dead), (3, 0));
}
