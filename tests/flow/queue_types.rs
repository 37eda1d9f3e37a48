//! RabbitMQ's types of queues: quorum queues as a default, their limits, and streams.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use diesel_outbox::config::Config;
use diesel_outbox::subscriber::{SubscribeError, Subscriber};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry, Shutdown};

use crate::dead_letters::command;
use crate::place::{Consumer, Place, Subject, next, wait_until};
use crate::quorum_counts::take_one_and_die;
use crate::support::virtual_host::VirtualHost;

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

fn works<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> { Ok(Outcome::Done) },
    )
}

/// A subscriber whose queues exist and are bound.
fn subscribed<C: Subject>(place: &Place, registry: &Registry<C>, config: &Config) -> Consumer {
    let (consumer, log) = place.subscribe_logged(registry, config);
    wait_until("it has subscribed", || {
        log.count("subscribed destination=") == 1
    });
    consumer
}

/// The type of a queue of the case.
fn queue_type(host: &VirtualHost, queue: &str) -> String {
    let mut found = None;
    wait_until("the API knows the queue", || {
        found = host.queue(queue);
        found.is_some()
    });
    found.unwrap()["type"].as_str().unwrap().to_owned()
}

/// From a failure to the dead letters and back, with no word about the type in our settings.
pub(crate) fn quorum_queues_may_be_the_default<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "quorum") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    subscribed(place, &works::<C>(), &place.config()).stop();
    let expected = match place.rabbitmq_version() >= (3, 11, 0) {
        true => "quorum",
        false => "classic",
    };
    let letters = format!("DLQ.{}", place.name);
    assert_eq!(queue_type(&host, &place.name), expected);
    assert_eq!(queue_type(&host, &letters), expected);

    let mut conn = place.connect::<C>();
    for n in 0..20 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    assert_eq!(place.relay::<C>().sent, 20);
    for mode in ["outbox", "broker"] {
        let settings = place.settings().set("dead_letter", mode).build().unwrap();
        let consumer = place.subscribe_with(&fails::<C>(), "it", &settings);
        wait_until("all are dead letters", || {
            command(place, "list", &[]).contains("20 listed of 20")
        });
        assert_eq!(consumer.stop().dead, 20, "{mode}");
        let replayed = command(place, "replay", &["--all"]);
        assert!(replayed.contains("20 sent back of 20"), "{replayed}");
    }
    let consumer = place.subscribe(&works::<C>());
    wait_until("all are received", || place.counts::<C>().received == 20);
    assert_eq!(consumer.stop().done, 20);
}

/// Deliveries that end with their connection count on each version, and there is a limit from 4.0 on.
pub(crate) fn a_quorum_queue_gives_up_a_message_after_its_limit<C: Subject>(place: &Place) {
    const LIMIT: usize = 20;
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let has_limit = place.rabbitmq_version() >= (4, 0, 0);
    let settings = place
        .settings()
        .set("queue_headers", "x-queue-type:quorum,x-expires:600000")
        .build()
        .unwrap();
    subscribed(place, &works::<C>(), &settings).stop();
    assert_eq!(queue_type(&host, &place.name), "quorum");
    place.send(Message::new(place.topic(), 1));
    let deliveries = if has_limit { LIMIT + 1 } else { 2 * LIMIT };
    for _ in 0..deliveries {
        take_one_and_die(place);
    }
    if has_limit {
        let letter = next(&place.dead_letters());
        let reason = letter.header("x-first-death-reason");
        assert_eq!(reason, Some("delivery_limit"));
    } else {
        let consumer = place.subscribe_with(&works::<C>(), "it", &settings);
        wait_until("it is handled", || place.counts::<C>().received == 1);
        consumer.stop();
    }
}

/// A policy for the queue with `dead-letter-strategy`: what the full dead-letter queue does not take waits.
pub(crate) fn at_least_once_dead_lettering_loses_nothing<C: Subject>(place: &Place) {
    const MESSAGES: usize = 5;
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    host.set_policy(
        &place.name,
        r#"{"dead-letter-strategy":"at-least-once","overflow":"reject-publish"}"#,
    );
    host.set_policy(
        &format!("DLQ.{}", place.name),
        r#"{"max-length":1,"overflow":"reject-publish"}"#,
    );
    let settings = place
        .settings()
        .set("dead_letter", "broker")
        .set("queue_headers", "x-queue-type:quorum")
        // The maximum length of a quorum queue is not exact.
        .set("dead_letter_headers", "x-queue-type:classic")
        .build()
        .unwrap();
    let consumer = subscribed(place, &fails::<C>(), &settings);
    assert_eq!(queue_type(&host, &place.name), "quorum");
    for n in 0..MESSAGES {
        place.send(Message::new(place.topic(), n));
    }
    // RabbitMQ tries again after 180 seconds.
    wait_until("the others wait in the queue", || {
        host.queue(&place.name).unwrap()["messages_dlx"] == MESSAGES - 1
    });
    assert_eq!(consumer.stop().dead, MESSAGES as u64);
    assert!(command(place, "list", &[]).contains("1 listed of 1"));
}

/// A callback that takes longer than the broker waits for an ACK: the message is delivered again while the callback
/// runs, and has one effect. Up to 4.2 the broker looks once a minute and closes the connection; from 4.3 on it ends
/// the subscription alone.
pub(crate) fn a_callback_beyond_the_consumer_timeout_has_one_effect<C: Subject>(place: &Place) {
    const LIMIT: &str = r#"{"consumer-timeout":2000}"#;
    const PATIENCE: Duration = Duration::from_secs(150);
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    if place.rabbitmq_version() < (3, 12, 0) {
        // There the limit is that of the whole broker.
        let refusal = host.try_policy(&place.name, LIMIT);
        assert!(refusal.body.contains("not recognised"), "{refusal:?}");
        return;
    }
    host.set_policy(&place.name, LIMIT);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            // At once when `go_on` is dropped.
            let _ = wait.lock().unwrap().recv();
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let settings = place
        .settings()
        .set("queue_headers", "x-queue-type:quorum")
        .set("dead_letter_headers", "")
        .build();
    let (consumer, log) = place.subscribe_logged(&registry, &settings.unwrap());
    let subscriptions = || log.count("subscribed destination=");
    wait_until("it has subscribed", || subscriptions() == 1);
    let is_available = || log.count("the subscription is available again");
    place.send(Message::new(place.topic(), 1));
    let began = Instant::now();
    while subscriptions() + is_available() < 2 {
        assert!(began.elapsed() < PATIENCE, "it has not subscribed again");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(go_on);
    let unsettled = || host.queue(&place.name).unwrap()["messages"].clone();
    wait_until("it is acknowledged", || {
        place.counts::<C>().received == 1 && unsettled() == 0
    });
    let stats = consumer.stop();
    assert_eq!((stats.done, stats.dead), (1, 0), "{stats:?}");
    assert_eq!(
        place.connect::<C>().number("select count(*) from effects"),
        1
    );
}

/// Only some arguments of a queue are taken from a STOMP client.
pub(crate) fn an_ignored_argument_is_warned_of<C: Subject>(place: &Place) {
    let warnings = |headers: &str| {
        let settings = place.settings().set("queue_headers", headers).build();
        let (consumer, log) = place.subscribe_logged(&works::<C>(), &settings.unwrap());
        wait_until("it has subscribed", || {
            log.count("subscribed destination=") == 1
        });
        consumer.stop();
        assert_eq!(
            log.count("x-overflow:reject-publish"),
            log.count("RabbitMQ ignores these")
        );
        log.count("RabbitMQ ignores these")
    };
    assert_eq!(
        warnings("x-expires:600000,x-max-length:9,x-overflow:reject-publish"),
        1
    );
    assert_eq!(warnings("x-expires:600000,x-max-length:9"), 0);
}

/// A stream keeps no acknowledgements, so messages would be skipped in silence.
pub(crate) fn a_stream_is_refused<C: Subject>(place: &Place) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let refused = |destination: &str, queue: Option<&str>, headers: &str| {
        let settings = place.settings().set("queue_headers", headers).build();
        let registry = works::<C>();
        let subscriber =
            Subscriber::new(&settings.unwrap(), &registry, "it", destination, queue).unwrap();
        let ended = place.runtime.block_on(subscriber.run(&Shutdown::new()));
        ended.unwrap_err()
    };
    host.declare(&place.name, "stream");
    let existing = format!("/amq/queue/{}", place.name);
    let error = refused(&existing, None, "");
    assert!(matches!(error, SubscribeError::Queue(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("is a stream: a stream does not"), "{error}");

    let error = refused(&place.topic(), Some("other"), "x-queue-type:stream").to_string();
    assert!(
        error.contains("invalid arg 'x-dead-letter-exchange' for queue"),
        "{error}"
    );
    assert!(!error.contains("other arguments"), "{error}");

    // The same question of another queue changes nothing.
    for queue_type in ["classic", "quorum"] {
        host.declare(queue_type, queue_type);
        let destination = format!("/amq/queue/{queue_type}");
        let registry = works::<C>();
        let (consumer, log) =
            place.subscribe_logged_as(&destination, None, &registry, &place.config());
        wait_until("it has subscribed", || {
            log.count("subscribed destination=") == 1
        });
        consumer.stop();
    }
}
