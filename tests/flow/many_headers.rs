//! Messages with more headers than RabbitMQ 4.3 accepts from a STOMP client: 100.

use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry};

use crate::amqp::Publisher;
use crate::dead_letters::run;
use crate::place::{Consumer, Place, Subject, next, wait_until};

const HEADERS: usize = 150;

/// RabbitMQ 4.3.6 has a limit, and 4.3.5 has none.
fn has_max_headers(place: &Place) -> bool {
    place.rabbitmq_version() >= (4, 3, 6)
}

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

fn publish(place: &Place) {
    let headers: Vec<(Vec<u8>, Vec<u8>)> = (0..HEADERS)
        .map(|n| (format!("a{n}").into_bytes(), b"v".to_vec()))
        .chain([(b"dop-msg-id".to_vec(), b"many".to_vec())])
        .collect();
    let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    let mut publisher = Publisher::connect(place.broker_url());
    publisher.publish(&place.name, &headers, b"1");
    publisher.publish(&place.name, &[(b"dop-msg-id", b"behind")], b"2");
    publisher.close();
}

/// The broker of our own queue moves the message with all its headers if it refuses our dead letter.
pub(crate) fn a_letter_with_many_headers_keeps_them<C: Subject>(place: &Place) {
    place.declare::<C>();
    publish(place);
    let letters = place.dead_letters();
    let consumer = place.subscribe(&fails::<C>());
    let of_both = [next(&letters), next(&letters)];
    assert_eq!(consumer.stop().dead, 2);
    let many = of_both
        .iter()
        .find(|letter| letter.header("dop-msg-id") == Some("many"))
        .unwrap();
    for n in 0..HEADERS {
        assert_eq!(many.header(&format!("a{n}")), Some("v"), "{n}");
    }
    let is_moved_by_the_broker = many.header("x-first-death-reason") == Some("rejected");
    assert_eq!(is_moved_by_the_broker, has_max_headers(place));
    assert_eq!(
        many.header("outbox-error").is_none(),
        is_moved_by_the_broker
    );
}

/// What is rejected from a queue of others may be dropped, so some headers are left out.
pub(crate) fn a_letter_from_a_queue_of_others_says_what_it_lacks<C: Subject>(place: &Place) {
    place.declare::<C>();
    publish(place);
    let letters = place.dead_letters();
    let destination = format!("/amq/queue/{}", place.name);
    let name = Some(place.name.as_str());
    let subscriber = Subscriber::new(&place.config(), &fails::<C>(), "it", &destination, name);
    let consumer = Consumer::of(subscriber.unwrap());
    let of_both = [next(&letters), next(&letters)];
    assert_eq!(consumer.stop().dead, 2);
    let many = of_both
        .iter()
        .find(|letter| letter.header("dop-msg-id") == Some("many"))
        .unwrap();
    assert_eq!(many.header("outbox-error"), Some("on purpose"));
    let count = (0..HEADERS)
        .filter(|n| many.header(&format!("a{n}")) == Some("v"))
        .count();
    let expected = has_max_headers(place).then(|| {
        format!(
            "{} of {} headers are left out",
            HEADERS - count,
            HEADERS + 1
        )
    });
    assert_eq!(many.header("outbox-defects"), expected.as_deref());
    assert_eq!(count < HEADERS, has_max_headers(place));
    assert!(count >= 80, "{count}");
}

/// A message that the broker does not accept any more stays, and those with fewer headers are sent back.
pub(crate) fn a_replay_says_which_letter_has_too_many_headers<C: Subject>(place: &Place) {
    place.declare::<C>();
    publish(place);
    let settings = place.settings().set("dead_letter", "broker");
    let consumer = place.subscribe_with(&fails::<C>(), "it", &settings.build().unwrap());
    wait_until("both are dead letters", || {
        run(place, "list", &[]).1.contains("2 listed of 2")
    });
    assert_eq!(consumer.stop().dead, 2);
    let (code, output) = run(place, "replay", &["--all"]);
    if has_max_headers(place) {
        assert_eq!(code, Some(1), "{output}");
        let expected = "the message many was not sent back: the broker closed the connection";
        assert!(output.contains(expected), "{output}");
        let list = run(place, "list", &[]).1;
        assert!(list.contains("1 listed of 1"), "{list}");
        assert!(list.contains("many"), "{list}");
    } else {
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains("2 sent back of 2"), "{output}");
    }
}

/// A row that the broker does not accept says why, and the row behind it is sent.
pub(crate) fn a_row_with_many_headers_says_why_it_is_refused<C: Subject>(place: &Place) {
    place.declare::<C>();
    let mut conn = place.connect::<C>();
    let mut many = Message::new(place.topic(), 1);
    for n in 0..HEADERS {
        many = many.header(format!("a{n}"), "v");
    }
    many.publish(&mut conn).unwrap();
    Message::new(place.topic(), 2).publish(&mut conn).unwrap();
    let is_limited = has_max_headers(place);
    let stats = place.relay::<C>();
    assert_eq!(stats.sent, if is_limited { 1 } else { 2 });
    if is_limited {
        let error = conn.text("select last_error from published where status = 1");
        let error = error.unwrap();
        assert!(
            error.contains("the frame has 160 headers: from version 4.3 on RabbitMQ closes"),
            "{error}"
        );
    }
}
