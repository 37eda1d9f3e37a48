//! The queue of dead letters, where it goes away.

use std::time::Duration;

use diesel_outbox::config::Builder;
use diesel_outbox::stomp::{Client, Options, SendFrame};
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

/// Each time a message is given up after the queue was deleted, in each mode.
pub(crate) fn letters_find_their_queue_though_it_was_deleted<C: Subject>(place: &Place) {
    place.declare::<C>();
    for mode in ["outbox", "broker"] {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        for round in 1..=3 {
            place.send(Message::new(place.topic(), round));
            are_there(place, 1);
            delete(place);
            // For so long `broker` takes it for there.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        place.send(Message::new(place.topic(), "last"));
        are_there(place, 1);
        assert_eq!(consumer.stop().dead, 4, "{mode}");
        // It was declared as a subscriber declares it: another one is let in.
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        place.send(Message::new(place.topic(), "behind"));
        are_there(place, 2);
        assert_eq!(consumer.stop().dead, 1, "{mode}");
        assert!(command(place, "drop", &["--all"]).contains("2 deleted of 2"));
    }
}

/// With arguments of their own: the queue is there, and that is enough.
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

/// The same from the start, and after a lost connection: such a queue costs no subscription.
pub(crate) fn a_subscription_takes_a_queue_that_others_have_declared<C: Subject>(place: &Place) {
    place.declare::<C>();
    delete(place);
    place.send_letters(1, b"theirs");
    let settings = place.settings().set("dead_letter", "outbox");
    let (consumer, log) = place.subscribe_logged(&fails::<C>(), &settings.build().unwrap());
    place.send(Message::new(place.topic(), 1));
    are_there(place, 2);
    assert_eq!(consumer.stop().dead, 1);
    assert_eq!(log.count("declared with other arguments than ours"), 1);
    delete(place);
}

/// RabbitMQ may drop what is rejected from a queue that we do not declare.
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

/// A subscriber whose queue is there.
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
                // A look at it lets it live for longer.
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

/// Straight to the queue, which its subscriber has declared.
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

/// What the settings say of a queue that is not to stay is not said of its letters.
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

/// Those that the queue had are gone with it; all others are letters still.
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
        let left = left.filter(|stored| !stored.body.is_empty()).count();
        (left, view.deleted(&place.name))
    });
    assert!(
        left + deleted >= ROWS,
        "{left} letters, {deleted} deleted with the queue"
    );
}

/// As at one that is too long with its story. It is none of the subscription's business.
pub(crate) fn a_letter_that_the_broker_closes_at_is_left_to_it<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    for kind in ["queue", "amq/queue"] {
        broker.poison(format!("/{kind}/DLQ.{}", place.name));
    }
    let registry = Registry::<C>::new().on("it", |conn: &mut C, payload: &Payload| {
        if payload.body() == "well" {
            conn.batch_execute("insert into effects (note) values ('well')")?;
            return Ok(Outcome::Done);
        }
        Err(Permanent::new("on purpose").into())
    });
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.set("maximum_backoff", "1s").build().unwrap();
    let logins = broker.view(|view| view.logins());
    let consumer = place.subscribe_with(&registry, "it", &settings);
    for body in ["bad", "well"] {
        place.send(Message::new(place.topic(), body));
    }
    wait_until("the other effect", || {
        place.connect::<C>().number("select count(*) from effects") == 1
    });
    // Two senders, the subscriber, its queue of dead letters, three letters, that queue again.
    assert_eq!(broker.view(|view| view.logins()) - logins, 8);
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
