//! The table "Destinations and queues" of docs/brokers.md, row by row.

use std::process::Command;
use std::time::Duration;

use diesel_outbox::stomp::{Broker, SendFrame};
use diesel_outbox::subscriber::{QueueError, SubscribeError, Subscriber};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry, Shutdown};

use crate::amqp::Publisher;
use crate::place::{Place, Subject, wait_until};

fn dead_letters(place: &Place, task: &str, queue: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(["dead-letters", task, queue])
        .args(more)
        .env("STOMP_URL", place.broker_url())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A subscription, the destination to send to, and the queue of its messages and dead letters.
struct Row<'a> {
    subscribe: &'a str,
    name: Option<&'a str>,
    publish: &'a str,
    queue: &'a str,
}

/// A message reaches the callback, goes to the dead letters, and is replayed from there.
fn holds<C: Subject>(place: &Place, row: &Row<'_>) {
    let what = row.subscribe;
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    let config = place.config();
    let subscribed = |registry: &Registry<C>| {
        place.subscribe_logged_as::<C>(row.subscribe, row.name, registry, &config)
    };
    let (consumer, log) = subscribed(&fails);
    wait_until("it has subscribed", || {
        log.count("subscribed destination=") == 1
    });
    let shown = format!("queue=\"{0}\" dead_letters=\"DLQ.{0}\"", row.queue);
    assert_eq!(log.count(&shown), 1, "{}", log.text());
    let mut conn = place.connect::<C>();
    Message::new(row.publish, what).publish(&mut conn).unwrap();
    assert_eq!(place.relay::<C>().sent, 1, "{what}");
    let listed = format!("1 listed of 1 in DLQ.{}\n", row.queue);
    wait_until("the letter is there", || {
        dead_letters(place, "list", row.queue, &[])
            .1
            .contains(&listed)
    });
    assert_eq!(consumer.stop().dead, 1, "{what}");

    // By the name and by a destination alike.
    let by_destination = format!("/queue/{}", row.queue.replace('/', "%2F"));
    let (_, said) = dead_letters(place, "list", &by_destination, &[]);
    assert!(said.contains(&listed), "{what}: {said}");
    let (code, said) = dead_letters(place, "replay", row.queue, &["--all"]);
    assert_eq!(code, Some(0), "{what}: {said}");
    assert!(said.contains("1 sent back of 1"), "{what}: {said}");
    let calm = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let note = payload.body().as_str().unwrap_or_default().to_owned();
            conn.batch_execute(&format!("insert into effects (note) values ('{note}')"))?;
            Ok::<_, BoxError>(Outcome::Done)
        },
    );
    let (consumer, _) = subscribed(&calm);
    let effects = format!("select count(*) from effects where note = '{what}'");
    wait_until(what, || conn.number(&effects) == 1);
    assert_eq!(consumer.stop().done, 1, "{what}");
}

pub(crate) fn each_row_on_rabbitmq<C: Subject>(place: &Place) {
    let named = |kind: &str| format!("{}-{kind}", place.name);
    let [
        topic,
        other,
        queue,
        bare,
        existing,
        key,
        bound,
        slash,
        percent,
    ] = [
        "topic", "other", "queue", "bare", "existing", "key", "bound", "a/b", "50%25",
    ]
    .map(named);
    let to = |kind: &str, name: &str| format!("/{kind}/{}", name.replace('/', "%2F"));
    // A SEND declares it, with other arguments than `subscribe`.
    place.send_frame(SendFrame::new(to("queue", &existing), "1"));
    let drained = dead_letters(place, "drop", "-", &["--all", "--from", &existing]);
    assert!(drained.1.contains("1 deleted of 1"), "{}", drained.1);
    for (subscribe, name, publish, queue) in [
        (to("topic", &topic), None, to("topic", &topic), &topic),
        (
            to("topic", &topic),
            Some(other.as_str()),
            to("topic", &topic),
            &other,
        ),
        (to("queue", &queue), None, to("amq/queue", &queue), &queue),
        (
            to("queue", &queue),
            Some(queue.as_str()),
            to("amq/queue", &queue),
            &queue,
        ),
        (bare.clone(), None, to("amq/queue", &bare), &bare),
        (
            to("amq/queue", &existing),
            None,
            to("queue", &existing),
            &existing,
        ),
        (
            to("amq/queue", &existing),
            None,
            existing.clone(),
            &existing,
        ),
        (
            to("exchange/amq.topic", &key),
            None,
            to("topic", &key),
            &key,
        ),
        (
            to("exchange/amq.topic", &key),
            Some(bound.as_str()),
            to("exchange/amq.topic", &key),
            &bound,
        ),
        (to("queue", &slash), None, to("amq/queue", &slash), &slash),
        (
            to("queue", &percent),
            None,
            to("amq/queue", &percent),
            &percent,
        ),
        (
            to("topic", &topic),
            Some(percent.as_str()),
            to("amq/queue", &percent),
            &percent,
        ),
    ] {
        holds::<C>(
            place,
            &Row {
                subscribe: &subscribe,
                name,
                publish: &publish,
                queue,
            },
        );
        place
            .connect::<C>()
            .batch_execute("delete from effects")
            .unwrap();
    }
    let mut admin = Publisher::connect(place.broker_url());
    admin.delete(&existing);
    admin.close();
}

pub(crate) fn each_row_on_activemq<C: Subject>(place: &Place) {
    let named = |kind: &str| format!("{}-{kind}", place.name);
    let [topic, owner, queue, bare, slash] = ["topic", "owner", "queue", "bare", "a/b"].map(named);
    let to = |kind: &str, name: &str| format!("/{kind}/{name}");
    for (subscribe, name, publish, queue) in [
        (to("topic", &topic), None, to("topic", &topic), &topic),
        (
            to("topic", &topic),
            Some(owner.as_str()),
            to("topic", &topic),
            &owner,
        ),
        (to("queue", &queue), None, to("queue", &queue), &queue),
        (
            to("queue", &queue),
            Some(queue.as_str()),
            queue.clone(),
            &queue,
        ),
        (bare.clone(), None, to("queue", &bare), &bare),
    ] {
        holds::<C>(
            place,
            &Row {
                subscribe: &subscribe,
                name,
                publish: &publish,
                queue,
            },
        );
        place
            .connect::<C>()
            .batch_execute("delete from effects")
            .unwrap();
    }
    // With a slash in its name; the broker must be named.
    let config = place.settings().set("broker", "activemq").build().unwrap();
    let slash = to("queue", &slash);
    let subscriber =
        Subscriber::<C>::new(&config, &Registry::new(), "store", &slash, None).unwrap();
    assert_eq!(subscriber.queue(), slash.trim_start_matches("/queue/"));
}

/// A destination that one of the brokers does not know is an error at the start, before anything is consumed.
pub(crate) fn what_a_broker_does_not_know_is_refused<C: Subject>(place: &Place) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (registry, config) = (Registry::<C>::new(), place.config());
    let refusal = |destination: &str, queue: Option<&str>| -> Result<(), SubscribeError> {
        let subscriber = Subscriber::new(&config, &registry, "store", destination, queue)?;
        let shutdown = Shutdown::new();
        let ended = runtime.block_on(async {
            let run = subscriber.run(&shutdown);
            tokio::time::timeout(Duration::from_secs(30), run).await
        });
        // Otherwise it consumes.
        ended.unwrap().map(drop)
    };
    for destination in ["/queue/mail", "/amq/queue/mail", "mail"] {
        let Err(SubscribeError::Queue(error)) = refusal(destination, Some("billing2")) else {
            panic!("{destination} takes another name")
        };
        assert!(matches!(error, QueueError::OtherName { .. }), "{error}");
    }
    let unknown = refusal("/temp-queue/mail", None);
    assert!(matches!(
        unknown,
        Err(SubscribeError::Queue(QueueError::UnknownDestination {
            broker: "RabbitMQ",
            ..
        }))
    ));
    if place.broker() == Broker::ActiveMq {
        for destination in ["/amq/queue/mail", "/exchange/amq.topic/mail"] {
            let refused = refusal(destination, None);
            let Err(SubscribeError::Queue(QueueError::UnknownDestination { broker, .. })) = refused
            else {
                panic!("{destination} on ActiveMQ: {refused:?}")
            };
            assert_eq!(broker, "ActiveMQ", "{destination}");
        }
    }
    for destination in ["/topic/mail", "/exchange/amq.topic/mail"] {
        let (code, said) = dead_letters(place, "list", destination, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("each of its subscribers has a queue of its own"),
            "{said}"
        );
    }
}

/// RabbitMQ would declare the queue without our arguments; the reason says where to send to.
pub(crate) fn a_send_that_would_declare_a_consumed_queue_says_what_to_do<C: Subject>(
    place: &Place,
) {
    let destination = format!("/queue/{}", place.name);
    let config = place.settings().set("retry_attempts", 1).build().unwrap();
    let store = Registry::<C>::new().on("it", |_: &mut C, _: &Payload| Outcome::Done);
    let (consumer, log) = place.subscribe_logged_as::<C>(&destination, None, &store, &config);
    wait_until("it has subscribed", || {
        log.count("subscribed destination=") == 1
    });
    let mut conn = place.connect::<C>();
    Message::new(&destination, 1).publish(&mut conn).unwrap();
    Message::new(format!("/amq{destination}"), 2)
        .publish(&mut conn)
        .unwrap();
    let sent = place.relay_with::<C>(&config);
    assert_eq!((sent.sent, sent.parked), (1, 1));
    let reason = conn.text("select last_error from published where status = -1");
    let (reason, advice) = (
        reason.unwrap(),
        format!("send to /amq{destination}, or to a topic"),
    );
    assert!(reason.contains(&advice), "{reason}");
    wait_until("the other one arrives", || {
        place.counts::<C>().received == 1
    });
    consumer.stop();
}
