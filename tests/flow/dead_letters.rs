//! Messages that are sent to the dead letters.

#[cfg(feature = "testing")]
use std::collections::HashSet;
use std::process::Command;

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
    let letters = place.dead_letters();
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
    assert!(!why.contains("seven"), "no value of the body: {why}");
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
    let letters = place.dead_letters();
    let registry = Registry::<C>::new().on(
        "it",
        |_: &mut C, payload: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if payload.body() == "useless" {
                return Ok(Outcome::Discard("of no use".to_owned()));
            }
            Err("on\npurpose".into())
        },
    );
    // The default.
    let settings = place.settings().set("consumer", "billing").build().unwrap();
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
    let registry = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if payload.body() == "last" {
                conn.batch_execute("insert into effects (note) values ('last')")?;
                return Ok(Outcome::Done);
            }
            Err(Permanent::new("on purpose").into())
        },
    );
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

pub(crate) fn run(place: &Place, task: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(["dead-letters", task, &place.name])
        .args(more)
        .env("STOMP_URL", place.broker_url())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The output of `outbox dead-letters` for the case's queue.
pub(crate) fn command(place: &Place, task: &str, more: &[&str]) -> String {
    let (code, said) = run(place, task, more);
    assert_eq!(code, Some(0), "{said}");
    said
}

pub(crate) fn the_letters_are_looked_at_and_sent_back<C: Subject>(place: &Place) {
    const ROWS: usize = 30;
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, payload: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let kind = payload.body().as_u64().unwrap_or(0) % 3;
            Err(Permanent::new(format!("of the kind {kind}")).into())
        },
    );
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.set("workers", 4).build().unwrap();
    let ids: Vec<String> = (0..ROWS)
        .map(|n| place.send(Message::new(place.topic(), n)).to_string())
        .collect();
    let consumer = place.subscribe_with(&fails, "it", &settings);
    wait_until("all are dead letters", || {
        // It does not exist before the subscriber has declared it.
        let (_, said) = run(place, "list", &[]);
        said.contains(&format!("{ROWS} listed of {ROWS} in DLQ."))
    });
    assert_eq!(consumer.stop().dead, ROWS as u64);

    let list = command(place, "list", &["--error", "kind 1", "--limit", "7"]);
    assert!(list.contains("7 listed of 30"), "{list}");
    let rows = list.lines().filter(|line| line.contains("of the kind 1"));
    assert_eq!(rows.count(), 7);
    let shown = command(place, "show", &["--id", &ids[4]]);
    assert!(shown.contains("1 shown of 30"), "{shown}");
    assert!(shown.contains("outbox-attempts: 1\n"), "{shown}");
    assert!(shown.contains("\n\n4\n\n"), "{shown}");
    let dry = command(place, "drop", &["--error", "kind 2", "--dry-run"]);
    assert!(dry.contains("10 to be deleted of 30"), "{dry}");
    let (code, said) = run(place, "drop", &[]);
    assert_eq!(code, Some(2), "{said}");
    let dropped = command(place, "drop", &["--error", "kind 2"]);
    assert!(dropped.contains("10 deleted of 30"), "{dropped}");
    let replayed = command(place, "replay", &["--limit", "5"]);
    assert!(replayed.contains("5 sent back of 20"), "{replayed}");
    let replayed = command(place, "replay", &["--all"]);
    assert!(replayed.contains("15 sent back of 15"), "{replayed}");
    assert!(command(place, "list", &[]).contains("0 listed of 0"));

    // As if a replay had been killed before it could acknowledge.
    let calm = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            assert_eq!(payload.header("outbox-error"), None);
            assert!(payload.header("dop-msg-sent-time").is_some());
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let consumer = place.subscribe_with(&calm, "it", &settings);
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("all effects", || effects() == 20);
    assert_eq!(consumer.stop().dead, 0);
    let mut conn = place.connect::<C>();
    for (n, id) in ids.iter().enumerate() {
        let count = format!("select count(*) from effects where note = '{id}'");
        assert_eq!(conn.number(&count), i64::from(n % 3 != 2), "{n}");
    }
}

/// Not on ActiveMQ, which pages a few hundred messages in at a time and takes a minute for these.
#[cfg(feature = "sqlite")]
pub(crate) fn many_letters_are_read_to_their_end<C: Subject>(place: &Place) {
    const ROWS: usize = 1_000;
    place.send_letters(ROWS, b"a letter");
    for _ in 0..2 {
        let list = command(place, "list", &["--limit", "1"]);
        assert!(list.contains("1 listed of 1000"), "{list}");
    }
    let dry = command(place, "drop", &["--limit", "400", "--dry-run"]);
    assert!(dry.contains("400 to be deleted of 1000"), "{dry}");
    let dropped = command(place, "drop", &["--all"]);
    assert!(dropped.contains("1000 deleted of 1000"), "{dropped}");
    assert!(command(place, "list", &[]).contains("0 listed of 0"));
}

/// More than a subscriber would keep waiting: none is acknowledged before all are seen.
#[cfg(feature = "sqlite")]
pub(crate) fn a_long_queue_is_read_to_its_end<C: Subject>(place: &Place) {
    const ROWS: usize = 96;
    place.send_letters(ROWS, &vec![b'x'; 1 << 20]);
    let list = command(place, "list", &["--limit", "1"]);
    assert!(list.contains("1 listed of 96"), "{list}");
    let dropped = command(place, "drop", &["--all"]);
    assert!(dropped.contains("96 deleted of 96"), "{dropped}");
}

/// Whenever a replay is killed, each dead letter is in at least one of the two queues.
#[cfg(feature = "testing")]
pub(crate) fn a_killed_replay_loses_nothing<C: Subject>(place: &Place) {
    const ROWS: usize = 400;
    let broker = place.loopback();
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    let mut conn = place.connect::<C>();
    for n in 0..ROWS {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    assert_eq!(place.relay::<C>().sent, ROWS as u64);
    let consumer = place.subscribe(&fails);
    let letters = format!("DLQ.{}", place.name);
    wait_until("all are dead letters", || {
        broker.view(|view| view.ready(&letters) == ROWS)
    });
    consumer.stop();
    for kill in 1..=4 {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_outbox"))
            .args(["dead-letters", "replay", &place.name, "--all"])
            .env("STOMP_URL", place.broker_url())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let some = kill * ROWS / 8;
        wait_until("it is under way", || {
            broker.view(|view| view.ready(&place.name) >= some)
        });
        replay.kill().unwrap();
        replay.wait().unwrap();
        wait_until("it is gone", || broker.view(|view| view.connections() == 0));
        let there: HashSet<Vec<u8>> = broker.view(|view| {
            let both = [&letters, &place.name].map(|queue| view.messages(queue));
            both.into_iter()
                .flatten()
                .filter(|stored| stored.header("outbox-marker").is_none())
                .map(|stored| stored.body.to_vec())
                .collect()
        });
        assert_eq!(there.len(), ROWS, "after {kill} kills");
    }
}

/// The dead letters belong to the subscriber, and it waits only shortly for a receipt.
#[cfg(feature = "testing")]
fn impatient(place: &Place) -> diesel_outbox::config::Config {
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.set("receipt_timeout", "100ms");
    settings.set("maximum_backoff", "1s").build().unwrap()
}

/// Each dead letter has its headers, and nothing else is left of the messages.
#[cfg(feature = "testing")]
fn all_is_told(place: &Place, least: usize) {
    let broker = place.loopback();
    let letters = format!("DLQ.{}", place.name);
    assert!(broker.wait_for(std::time::Duration::from_secs(20), |view| {
        view.ready(&letters) >= least && view.unacknowledged(&place.name) == 0
    }));
    broker.view(|view| {
        assert_eq!(view.ready(&place.name), 0);
        for letter in view.messages(&letters) {
            assert_eq!(letter.header("outbox-error"), Some("on purpose"));
            assert_eq!(letter.header("x-first-death-queue"), None, "by NACK");
        }
    });
}

/// As under a memory alarm: nothing is read, nothing fails.
#[cfg(feature = "testing")]
pub(crate) fn a_broker_that_stands_still_costs_no_story<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let (begin, begun) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let both = std::sync::Mutex::new((begin, wait));
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            // Until the broker stops responding.
            let both = both.lock().unwrap();
            both.0.send(()).unwrap();
            let _ = both.1.recv();
            Err(Permanent::new("on purpose").into())
        },
    );
    let (consumer, log) = place.subscribe_logged(&registry, &impatient(place));
    place.send(Message::new(place.topic(), 1));
    next(&begun);
    broker.stall(true);
    drop(go_on);
    wait_until("it waits", || log.count("broker not responding") == 1);
    broker.stall(false);
    all_is_told(place, 1);
    assert!(log.count(" subscribed ") < 2, "{}", log.text());
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (0, 1));
}

/// Each of the first ones was taken: all are there, and none was moved by the broker itself.
#[cfg(feature = "testing")]
pub(crate) fn a_letter_is_sent_until_its_receipt_comes<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let registry = Registry::<C>::new().on(
        "it",
        |conn: &mut C,
         payload: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if payload.body() == "calm" {
                conn.batch_execute("insert into effects (note) values ('calm')")?;
                return Ok(Outcome::Done);
            }
            Err(Permanent::new("on purpose").into())
        },
    );
    let settings = impatient(place);
    for body in ["bad", "calm"] {
        place.send(Message::new(place.topic(), body));
    }
    broker.withhold_receipts(true);
    let consumer = place.subscribe_with(&registry, "it", &settings);
    let letters = format!("DLQ.{}", place.name);
    let patience = std::time::Duration::from_secs(20);
    assert!(broker.wait_for(patience, |view| view.ready(&letters) >= 3));
    let mut conn = place.connect::<C>();
    let effects = "select count(*) from effects";
    assert_eq!(conn.number(effects), 0, "the next one waits");
    broker.clear_faults();
    all_is_told(place, 4);
    wait_until("the other effect", || conn.number(effects) == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 1));
}

/// `script` of bsdutils gives it a pseudo-terminal. It counts the messages for its progress bar, and
/// the counted messages are replayed all the same.
pub(crate) fn a_terminal_sees_how_far_it_is<C: Subject>(place: &Place) {
    const ROWS: usize = 30;
    if !cfg!(target_os = "linux") {
        eprintln!("left out: `script` has other arguments here");
        return;
    }
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    );
    for n in 0..2 * ROWS {
        place.send(Message::new(place.topic(), n));
    }
    let settings = place.settings().set("dead_letter", "outbox").build();
    let consumer = place.subscribe_with(&fails, "it", &settings.unwrap());
    wait_until("all are dead letters", || {
        let (_, said) = run(place, "list", &[]);
        said.contains(&format!("{0} listed of {0} in DLQ.", 2 * ROWS))
    });
    consumer.stop();
    let some = ROWS.to_string();
    let plain = command(place, "replay", &["--limit", &some]);
    assert!(!plain.contains("messages,"), "{plain}");
    let outbox = env!("CARGO_BIN_EXE_outbox");
    let line = format!("'{outbox}' dead-letters replay {} --all", place.name);
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("STOMP_URL", place.broker_url())
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{seen}");
    for words in [
        format!("/{ROWS} messages, "),
        format!("{ROWS} sent back of {ROWS}"),
    ] {
        assert!(seen.contains(&words), "no {words}: {seen}");
    }
    assert!(command(place, "list", &[]).contains("0 listed of 0"));
}
