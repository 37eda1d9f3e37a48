//! Callbacks that work in the database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use diesel_outbox::correlation::{self, Trace};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};
use serde_json::{Value, json};

use crate::place::{Place, Subject, next, wait_until};

fn note<C: Subject>(conn: &mut C, note: &str) -> Result<(), BoxError> {
    let note = note.replace('\'', "''");
    Ok(conn.batch_execute(&format!("insert into effects (note) values ('{note}')"))?)
}

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

fn noted<C: Subject>(conn: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
    note(conn, payload.msg_id())?;
    Ok(Outcome::Done)
}

pub(crate) fn a_message_has_its_effect_once<C: Subject>(place: &Place) {
    place.declare::<C>();
    let mut conn = place.connect::<C>();
    let id = Message::new(place.topic(), json!({"n": 1}))
        .publish(&mut conn)
        .unwrap();
    assert_eq!(place.relay::<C>().sent, 1);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            noted(conn, payload)
        },
    );
    let consumer = place.subscribe(&registry);
    wait_until("the effect", || effects::<C>(place) == 1);
    // The relay did not receive its receipt, and sends it again.
    conn.batch_execute("update published set status = 1")
        .unwrap();
    assert_eq!(place.relay::<C>().sent, 1);
    let marker = place.send(Message::new(place.topic(), json!("after it")));
    wait_until("the marker", || effects::<C>(place) == 2);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates), (2, 1));
    let calls = calls.load(Ordering::SeqCst);
    assert_eq!(
        calls, 2,
        "the inbox comes first: a duplicate is not handed over"
    );
    for id in [id, marker] {
        let noted = format!("select count(*) from effects where note = '{id}'");
        assert_eq!(conn.number(&noted), 1, "{id}");
    }
    let stored = conn.text(&format!("select body from received where msg_id = '{id}'"));
    assert_eq!(
        serde_json::from_str::<Value>(&stored.unwrap()).unwrap(),
        json!({"n": 1})
    );
}

/// MySQL's comparisons ignore trailing spaces.
pub(crate) fn ids_may_differ_by_a_space_or_a_case<C: Subject>(place: &Place) {
    place.declare::<C>();
    for id in ["a", "a ", "A", "a", "a "] {
        place.send_raw(id, b"{}");
    }
    let consumer = place.subscribe(&Registry::<C>::new().on("it", noted));
    wait_until("the effects", || effects::<C>(place) == 3);
    place.send_raw("last", b"{}");
    wait_until("the last", || effects::<C>(place) == 4);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates), (4, 2));
}

pub(crate) fn a_failing_callback_ends_at_the_dead_letters<C: Subject>(place: &Place) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fails = move |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        counted.fetch_add(1, Ordering::SeqCst);
        note(conn, payload.msg_id())?;
        Err("on purpose".into())
    };
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", fails));
    let id = place.send(Message::new(place.topic(), json!([1, 2])));
    let dead = next(&dead_letters);
    assert_eq!(dead.header("dop-msg-id"), Some(id.to_string().as_str()));
    assert_eq!(&dead.body[..], b"[1,2]");
    assert_eq!(consumer.stop().dead, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 2, "callback_attempts");
    assert_eq!(effects::<C>(place), 0, "rolled back");
    assert_eq!(place.counts::<C>().received, 0);
}

pub(crate) fn a_panic_is_the_failure_of_one_message<C: Subject>(place: &Place) {
    let panics = |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        note(conn, payload.msg_id())?;
        assert_ne!(payload.body(), "panic", "on purpose");
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", panics));
    place.send(Message::new(place.topic(), "panic"));
    place.send(Message::new(place.topic(), "calm"));
    assert_eq!(&next(&dead_letters).body[..], b"\"panic\"");
    wait_until("the other effect", || effects::<C>(place) == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 1));
}

pub(crate) fn a_discarded_message_leaves_no_row<C: Subject>(place: &Place) {
    let discards = |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        note(conn, payload.msg_id())?;
        Ok(Outcome::Discard("of no use".to_owned()))
    };
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", discards));
    place.send(Message::new(place.topic(), 1));
    next(&dead_letters);
    let handled = consumer.stop();
    assert_eq!((handled.discarded, handled.dead), (1, 0));
    assert_eq!(effects::<C>(place), 0);
    assert_eq!(place.counts::<C>().received, 0);
}

pub(crate) fn a_managed_callback_proves_what_it_did<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        if payload.body() == "nack" {
            return Ok(payload.nack());
        }
        conn.transaction::<_, BoxError, _>(|conn| {
            let proof = payload.save(conn)?;
            note(conn, payload.msg_id())?;
            Ok(proof)
        })
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&registry);
    place.send_raw("one", b"1");
    place.send_raw("one", b"1");
    place.send_raw("two", b"\"nack\"");
    assert_eq!(&next(&dead_letters).body[..], b"\"nack\"");
    let handled = consumer.stop();
    assert_eq!(
        (handled.done, handled.duplicates, handled.discarded),
        (1, 1, 1)
    );
    assert_eq!(effects::<C>(place), 1);
    assert_eq!(place.counts::<C>().received, 1);
}

pub(crate) fn a_proof_without_a_commit_is_a_failure<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        let mut kept = None;
        let undone = conn.transaction::<(), BoxError, _>(|conn| {
            kept = Some(payload.save(conn)?);
            Err("rolled back on purpose".into())
        });
        kept.ok_or_else(|| undone.unwrap_err())
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&registry);
    place.send(Message::new(place.topic(), 1));
    next(&dead_letters);
    assert_eq!(consumer.stop().dead, 1);
    assert_eq!(place.counts::<C>().received, 0);
}

pub(crate) fn any_body_is_handed_over<C: Subject>(place: &Place) {
    let (sender, bodies) = channel();
    let sender = Mutex::new(sender);
    let tells = move |_: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        let received = (payload.body().clone(), payload.raw().to_vec());
        sender.lock().unwrap().send(received)?;
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", tells));
    let long = "x".repeat(101);
    let cases: [(&str, &[u8], Value); 5] = [
        ("json", b"{\"a\": [1]}", json!({"a": [1]})),
        ("text", b"not JSON", json!("not JSON")),
        ("empty", b"", json!("")),
        ("bytes", b"\xff\0\n", json!("\u{fffd}\0\n")),
        (&long, b"\"\\u0000\"", json!("\0")),
    ];
    for (id, raw, _) in &cases {
        place.send_raw(id, raw);
    }
    for (_, raw, body) in &cases {
        assert_eq!(next(&bodies), (body.clone(), raw.to_vec()));
    }
    assert_eq!(consumer.stop().done, 5);
    let mut conn = place.connect::<C>();
    assert_eq!(conn.number("select count(*) from received"), 5);
    assert_eq!(
        conn.number("select count(*) from received where msg_id like 'sha256:%'"),
        1
    );
    let refused = conn.number("select count(*) from received where body is null");
    assert_eq!(refused, if conn.refuses_nul() { 2 } else { 0 });
}

pub(crate) fn what_a_callback_publishes_is_correlated<C: Subject>(place: &Place) {
    let answers = |conn: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
        Message::new("/topic/answers", "answer").publish(conn)?;
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", answers));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    diesel_outbox::correlation::scope("chain-7", || {
        correlation::trace_scope(Trace::new(trace, Some("vendor=1")), || {
            place.send(Message::new(place.topic(), "question"));
        });
    });
    wait_until("the answer", || place.counts::<C>().waiting == 1);
    consumer.stop();
    let headers = place.connect::<C>().text("select headers from published");
    let headers: Value = serde_json::from_str(&headers.unwrap()).unwrap();
    assert_eq!(headers["dop-correlation-id"], "chain-7");
    assert_eq!(headers["traceparent"], trace);
    assert_eq!(headers["tracestate"], "vendor=1");
}

pub(crate) fn a_queue_collects_while_nobody_listens<C: Subject>(place: &Place) {
    place.declare::<C>();
    for n in 0..20 {
        place.send_raw(&format!("m{n}"), b"1");
    }
    let consumer = place.subscribe(&Registry::<C>::new().on("it", noted));
    wait_until("all effects", || effects::<C>(place) == 20);
    assert_eq!(consumer.stop().done, 20);
}

/// On MariaDB it is longer than a statement may be (`max_allowed_packet`), so the server closes the
/// connection.
pub(crate) fn a_body_of_any_length_is_handed_over<C: Subject>(place: &Place) {
    const LONG: usize = 16 * 1024 * 1024 + 1;
    let (sender, lengths) = channel();
    let sender = Mutex::new(sender);
    let tells = move |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        note(conn, payload.msg_id())?;
        sender.lock().unwrap().send(payload.raw().len())?;
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", tells));
    place.send_raw("long", format!("{:?}", "x".repeat(LONG)).as_bytes());
    place.send_raw("short", b"{}");
    assert_eq!(next(&lengths), LONG + 2);
    assert_eq!(next(&lengths), 2);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (2, 0));
    let mut conn = place.connect::<C>();
    assert_eq!(effects::<C>(place), 2);
    let fits = !conn.limits_statements() || conn.longest_statement().unwrap() > LONG + 64 * 1024;
    let whole = conn.number("select count(*) from received where body is not null");
    assert_eq!(whole, if fits { 2 } else { 1 });
    let received = conn.number("select count(*) from received where headers is not null");
    assert_eq!(received, 2);
}

/// JSON without a limit for digits, of which `serde_json` reads what an f64 can hold.
pub(crate) fn a_number_of_any_length_is_handed_over<C: Subject>(place: &Place) {
    const DIGITS: usize = 4 * 1000 * 1000;
    let (sender, bodies) = channel();
    let sender = Mutex::new(sender);
    let tells = move |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        note(conn, payload.msg_id())?;
        sender.lock().unwrap().send(payload.body().clone())?;
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", tells));
    let whole = "7".repeat(DIGITS);
    let fraction = format!("0.{whole}");
    place.send_raw("whole", whole.as_bytes());
    place.send_raw("fraction", fraction.as_bytes());
    // It is no number of any type, so it is a text.
    assert!(next(&bodies) == json!(whole));
    assert_eq!(next(&bodies), json!(0.777_777_777_777_777_8));
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (2, 0));
    assert_eq!(effects::<C>(place), 2);
    let mut conn = place.connect::<C>();
    let stored = conn.number("select count(*) from received where body is not null");
    assert_eq!(stored, 2);
}

/// The same for a callback that saves by itself.
pub(crate) fn a_managed_callback_saves_a_body_of_any_length<C: Subject>(place: &Place) {
    const LONG: usize = 16 * 1024 * 1024 + 1;
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        conn.transaction::<_, BoxError, _>(|conn| {
            let proof = payload.save(conn)?;
            note(conn, payload.msg_id())?;
            Ok(proof)
        })
    });
    place.declare::<C>();
    let consumer = place.subscribe(&registry);
    place.send_raw("long", "x".repeat(LONG).as_bytes());
    wait_until("the effect", || effects::<C>(place) == 1);
    assert_eq!(consumer.stop().done, 1);
    assert_eq!(place.counts::<C>().received, 1);
}

/// The number of earlier failures: the callback in the inbox transaction, the managed and the external one.
pub(crate) fn a_row_of_any_kind_of_callback_has_its_attempts<C: Subject>(place: &Place) {
    // The third one succeeds.
    let fails = || {
        let calls = AtomicUsize::new(0);
        move || calls.fetch_add(1, Ordering::SeqCst) < 2
    };
    let settings = place
        .settings()
        .set("callback_attempts", 3)
        .build()
        .unwrap();
    place.declare::<C>();
    let (plain, managed, external) = (fails(), fails(), Arc::new(fails()));
    let registry = Registry::<C>::new()
        .on("plain", move |_: &mut C, _: &Payload| match plain() {
            true => Err("on purpose"),
            false => Ok(()),
        })
        .on_managed("managed", move |conn: &mut C, payload: &Payload| {
            conn.transaction(|conn| {
                let proof = payload.save(conn)?;
                match managed() {
                    true => Err::<_, BoxError>("on purpose".into()),
                    false => Ok(proof),
                }
            })
        })
        .on_external("external", move |_| {
            let external = Arc::clone(&external);
            async move {
                match external() {
                    true => Err("on purpose"),
                    false => Ok(Outcome::Done),
                }
            }
        });
    for (count, kind) in [(1, "plain"), (2, "managed"), (3, "external")] {
        let consumer = place.subscribe_with(&registry, kind, &settings);
        place.send(Message::new(place.topic(), kind));
        wait_until(kind, || place.counts::<C>().received == count);
        assert_eq!(consumer.stop().done, 1, "{kind}");
        let retries = place
            .connect::<C>()
            .number("select sum(retry) from received");
        assert_eq!(retries, 2 * count, "{kind}");
    }
}
