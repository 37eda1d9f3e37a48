//! Dead-letter queues that disappear.

use std::time::Duration;

use diesel_outbox::config::Builder;
use diesel_outbox::stomp::{Client, Options, SendFrame};
use diesel_outbox::testing::{LoopbackBroker, QueuedMessage};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry};

use crate::amqp::Publisher;
use crate::dead_letters::{command, run};
use crate::place::{Consumer, Place, Subject, wait_until};

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

fn delete(place: &Place) {
    let letters = format!("DLQ.{}", place.name);
    if place.is_loopback() {
        return place.loopback().delete_queue(&letters);
    }
    let mut admin = Publisher::connect(place.broker_url());
    admin.delete(&letters);
    admin.close();
}

fn are_there(place: &Place, count: usize) {
    let expected = format!("{count} listed of {count} in DLQ.");
    wait_until("the letters are there", || {
        run(place, "list", &[]).1.contains(&expected)
    });
}

/// Each time a message is sent to the dead letters after their queue was deleted, in each mode.
pub(crate) fn letters_find_their_queue_though_it_was_deleted<C: Subject>(place: &Place) {
    place.declare::<C>();
    for mode in ["outbox", "broker"] {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        for round in 1..=3 {
            place.send(Message::new(place.topic(), round));
            are_there(place, 1);
            delete(place);
            // For this time `broker` assumes that it exists.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        place.send(Message::new(place.topic(), "last"));
        are_there(place, 1);
        assert_eq!(consumer.stop().dead, 4, "{mode}");
        // It was declared as a subscriber declares it: another one is accepted.
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        place.send(Message::new(place.topic(), "behind"));
        are_there(place, 2);
        assert_eq!(consumer.stop().dead, 1, "{mode}");
        assert!(command(place, "drop", &["--all"]).contains("2 deleted of 2"));
    }
}

/// With other arguments: the queue exists, and that is enough.
pub(crate) fn letters_go_to_a_queue_that_others_have_declared<C: Subject>(place: &Place) {
    place.declare::<C>();
    for mode in ["outbox", "broker"] {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        place.send(Message::new(place.topic(), 1));
        are_there(place, 1);
        delete(place);
        std::thread::sleep(Duration::from_millis(1_100));
        place.send_letters(1, b"theirs");
        place.send(Message::new(place.topic(), 2));
        are_there(place, 2);
        assert_eq!(consumer.stop().dead, 2, "{mode}");
        delete(place);
    }
}

/// The same from the start, and after a lost connection: this queue ends no subscription.
pub(crate) fn a_subscription_takes_a_queue_that_others_have_declared<C: Subject>(place: &Place) {
    place.declare::<C>();
    delete(place);
    place.send_letters(1, b"theirs");
    let settings = place.settings().set("dead_letter", "outbox");
    let (consumer, log) = place.subscribe_logged(&fails::<C>(), &settings.build().unwrap());
    place.send(Message::new(place.topic(), 1));
    are_there(place, 2);
    assert_eq!(consumer.stop().dead, 1);
    assert_eq!(log.count("exists with other arguments than ours"), 1);
    delete(place);
}

/// RabbitMQ may drop messages that are rejected from a queue that we do not declare.
pub(crate) fn a_queue_of_others_without_letters_is_warned_of<C: Subject>(place: &Place) {
    place.declare::<C>();
    let warnings = |mode: &str| {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let destination = format!("/amq/queue/{}", place.name);
        let (consumer, log) = place.subscribe_logged_to(&destination, &fails::<C>(), &settings);
        wait_until("it has subscribed", || {
            log.count("subscribed destination=") == 1
        });
        consumer.stop();
        log.count("drops what is rejected from this queue")
    };
    assert_eq!(warnings("broker"), 1);
    assert_eq!(warnings("outbox"), 0);
}

/// A subscriber whose queue exists.
fn subscribed<C: Subject>(place: &Place, settings: Builder) -> Consumer {
    let consumer = place.subscribe_with(&fails::<C>(), "it", &settings.build().unwrap());
    wait_until("its queue is there", || {
        Publisher::connect(place.broker_url()).has(&place.name)
    });
    consumer
}

fn expiring(settings: Builder) -> Builder {
    settings.set("dead_letter_headers", "x-expires:500")
}

pub(crate) fn letters_find_their_queue_though_it_has_expired<C: Subject>(place: &Place) {
    for mode in ["outbox", "broker"] {
        let settings = expiring(place.settings()).set("dead_letter", mode);
        let consumer = subscribed::<C>(place, settings);
        for _ in 0..2 {
            // Until the queue is gone.
            wait_until("it has expired", || {
                let (_, said) = run(place, "list", &[]);
                // Checking it prolongs its life.
                std::thread::sleep(Duration::from_millis(700));
                said.contains("there is no queue")
            });
            send_to_queue(place);
            are_there(place, 1);
        }
        assert_eq!(consumer.stop().dead, 2, "{mode}");
        delete(place);
    }
}

/// Directly to the queue, which its subscriber has declared.
fn send_to_queue(place: &Place) {
    let options = Options::from_url(place.broker_url()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let destination = format!("/amq/queue/{}", place.name);
        let frame = SendFrame::new(destination, "{}").header("persistent", "true");
        client.send(frame).await.unwrap();
        client.disconnect().await.unwrap();
    });
}

/// The settings of a temporary queue do not apply to its dead letters.
pub(crate) fn letters_outlive_what_deletes_the_queue_of_their_messages<C: Subject>(place: &Place) {
    let settings = place.settings().set(
        "queue_headers",
        "x-expires:500,x-message-ttl:400,x-max-length:5",
    );
    let settings = settings
        .set("dead_letter_headers", "")
        .set("dead_letter", "outbox");
    let consumer = subscribed::<C>(place, settings);
    send_to_queue(place);
    are_there(place, 1);
    consumer.stop();
    // Longer than any of these times.
    std::thread::sleep(Duration::from_millis(1_500));
    are_there(place, 1);
    delete(place);
}

/// The queue's dead letters are lost with it; all later ones are kept.
pub(crate) fn a_replay_to_a_queue_that_is_deleted_loses_no_letter<C: Subject>(place: &Place) {
    use std::process::{Command, Stdio};
    const ROWS: usize = 2_000;
    let broker = place.loopback();
    place.declare::<C>();
    delete(place);
    place.send_letters(ROWS, b"{}");
    let replay = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(["dead-letters", "replay", &place.name, "--all"])
        .env("STOMP_URL", place.broker_url())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it is under way", || {
        broker.view(|view| view.ready(&place.name) + view.unacknowledged(&place.name) >= 10)
    });
    broker.delete_queue(&place.name);
    let output = replay.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("was deleted meanwhile"), "{said}");
    let letters = format!("DLQ.{}", place.name);
    wait_until("its connections are gone", || {
        broker.view(|view| view.connections() == 0)
    });
    let (left, deleted) = broker.view(|view| {
        let left = view.messages(&letters);
        let is_letter = |stored: &&QueuedMessage| stored.header("outbox-marker").is_none();
        let left = left.filter(is_letter).count();
        (left, view.deleted(&place.name))
    });
    assert!(
        left + deleted >= ROWS,
        "{left} letters, {deleted} deleted with the queue"
    );
}

/// As a user that may not write to the queue. This does not affect the subscription.
pub(crate) fn a_letter_that_the_broker_refuses_is_left_to_it<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    for kind in ["queue", "amq/queue"] {
        broker.reject_sends_to(format!("/{kind}/DLQ.{}", place.name));
    }
    let registry = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if payload.body() == "well" {
                conn.batch_execute("insert into effects (note) values ('well')")?;
                return Ok(Outcome::Done);
            }
            Err(Permanent::new("on purpose").into())
        },
    );
    let settings = place
        .settings()
        .set("maximum_backoff", "1s")
        .build()
        .unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    for body in ["bad", "well"] {
        place.send(Message::new(place.topic(), body));
    }
    wait_until("the other effect", || {
        place.connect::<C>().number("select count(*) from effects") == 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 1));
    broker.view(|view| {
        let letters = format!("DLQ.{}", place.name);
        let reasons: Vec<_> = view
            .messages(&letters)
            .map(|letter| letter.header("x-first-death-reason").map(str::to_owned))
            .collect();
        assert_eq!(reasons, [Some("rejected".to_owned())]);
    });
}

/// An ERROR without a known reason may be about the broker. The message is not rejected for it.
#[cfg(feature = "testing")]
pub(crate) fn a_letter_that_is_refused_for_no_known_reason_is_sent_again<C: Subject>(
    place: &Place,
) {
    let broker = place.loopback();
    place.declare::<C>();
    let letters = format!("DLQ.{}", place.name);
    for kind in ["queue", "amq/queue"] {
        broker.reject_next_send_to(format!("/{kind}/{letters}"));
    }
    let consumer = place.subscribe_with(&fails::<C>(), "it", &place.config());
    place.send(Message::new(place.topic(), 1));
    wait_until("it is there", || {
        broker.view(|view| view.ready(&letters) == 1)
    });
    broker.view(|view| {
        let letter = view.messages(&letters).next().unwrap();
        assert_eq!(letter.header("outbox-error"), Some("on purpose"));
    });
    assert_eq!(consumer.stop().dead, 1);
}

/// RabbitMQ drops messages that are rejected from a queue that we do not declare. However the dead letter is
/// refused, the message stays until it is accepted.
pub(crate) fn a_message_that_would_be_dropped_is_kept<C: Subject>(place: &Place) {
    let broker = place.loopback();
    let settings = place
        .settings()
        .set("maximum_backoff", "1s")
        .build()
        .unwrap();
    let refuse: [fn(&LoopbackBroker, String); 2] = [
        |broker, destination| broker.reject_sends_to(destination),
        |broker, destination| broker.close_on_send_to(destination),
    ];
    for (round, refuse) in refuse.into_iter().enumerate() {
        let queue = format!("{}-{round}", place.name);
        let letters = format!("DLQ.{queue}");
        for kind in ["queue", "amq/queue"] {
            refuse(broker, format!("/{kind}/{letters}"));
        }
        // Declares it without a dead-letter queue.
        let frame = SendFrame::new(format!("/queue/{queue}"), "1");
        place.send_frame(frame.header("dop-msg-id", &queue));
        let destination = format!("/amq/queue/{queue}");
        let (consumer, log) =
            place.subscribe_logged_as(&destination, None, &fails::<C>(), &settings);
        let words = "the broker refuses the dead letter";
        wait_until("it is refused", || log.count(words) == 1);
        wait_until("and again", || {
            log.count("dead letter is refused again") >= 2
        });
        assert_eq!(log.count(words), 1, "it is said once");
        assert_eq!(broker.view(|view| view.unacknowledged(&queue)), 1);
        broker.clear_faults();
        wait_until("the letter is there", || {
            broker.view(|view| view.ready(&letters) == 1 && view.unacknowledged(&queue) == 0)
        });
        assert_eq!(consumer.stop().dead, 1);
        broker.view(|view| {
            let letter = view.messages(&letters).next().unwrap();
            assert_eq!(letter.header("outbox-error"), Some("on purpose"));
        });
    }
}

/// RabbitMQ closes the connection at a message for this kind of queue, and drops what it dead-letters to it.
pub(crate) fn a_full_queue_loses_no_message<C: Subject>(place: &Place) {
    place.declare::<C>();
    delete(place);
    let letters = format!("DLQ.{}", place.name);
    let mut admin = Publisher::connect(place.broker_url());
    admin.declare_full_at_one(&letters);
    let settings = place.settings().set("maximum_backoff", "1s");
    let (consumer, log) = place.subscribe_logged(&fails::<C>(), &settings.build().unwrap());
    let ids: Vec<String> = (0..3)
        .map(|n| place.send(Message::new(place.topic(), n)).to_string())
        .collect();
    let mut seen = Vec::new();
    wait_until("the queue is full", || {
        log.count("the broker refuses the dead letter") == 1
    });
    while seen.len() < ids.len() {
        // While a command reads the first one, RabbitMQ counts it no longer and may take the next.
        wait_until("the next letter is there", || {
            let (_, list) = run(place, "list", &[]);
            list.contains("1 listed of 1") || list.contains("2 listed of 2")
        });
        let shown = command(place, "show", &[]);
        let id = shown.lines().next().unwrap().to_owned();
        assert!(
            shown.contains("outbox-error: on purpose"),
            "{shown}\n{}",
            log.text()
        );
        let dropped = command(place, "drop", &["--id", &id]);
        assert!(dropped.contains("1 deleted of"), "{dropped}");
        seen.push(id);
    }
    assert_eq!(seen, ids);
    assert_eq!(consumer.stop().dead, 3);
    admin.delete(&letters);
    admin.close();
}
