//! Callbacks that open their own transaction, and fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use diesel::connection::TransactionManager;
use diesel_outbox::{BoxError, Payload, Proof, Registry};

use crate::place::{Consumer, Place, Subject, next, wait_until};

fn note<C: Subject>(conn: &mut C) -> Result<(), BoxError> {
    Ok(conn.batch_execute("insert into effects (note) values ('it')")?)
}

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

/// Saves and works as it should.
fn well<C: Subject>(conn: &mut C, payload: &Payload) -> Result<Proof, BoxError> {
    conn.transaction(|conn| {
        let proof = payload.save(conn)?;
        note(conn)?;
        Ok(proof)
    })
}

/// Sends a message that works, and waits for its effect: earlier messages do not block it.
fn goes_on<C: Subject>(place: &Place, consumer: Consumer, dead: u64) {
    let before = effects::<C>(place);
    place.send_raw("well", b"\"well\"");
    wait_until("the next message has its effect", || {
        effects::<C>(place) == before + 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, dead));
    assert_eq!((handled.duplicates, handled.discarded), (0, 0));
    assert_eq!(place.counts::<C>().received, 1);
}

pub(crate) fn a_panic_in_its_own_transaction_is_one_messages_failure<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        if payload.body() == "well" {
            return well(conn, payload);
        }
        conn.transaction(|conn| {
            let _ = payload.save(conn)?;
            note(conn)?;
            panic!("on purpose");
        })
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send_raw("panics", b"1");
    assert_eq!(&next(&dead_letters).body[..], b"1");
    assert_eq!(log.outages(""), 0, "{}", log.text());
    assert_eq!(effects::<C>(place), 0);
    goes_on::<C>(place, consumer, 1);
}

pub(crate) fn a_transaction_that_is_left_open_is_rolled_back<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        match payload.body().as_str() {
            Some("diesel") => C::TransactionManager::begin_transaction(conn)?,
            // Diesel does not know of it.
            Some("by hand") => conn.batch_execute("begin")?,
            _ => return well(conn, payload),
        }
        let proof = payload.save(conn)?;
        note(conn)?;
        Ok(proof)
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    for body in ["\"diesel\"", "\"by hand\""] {
        place.send_raw(body, body.as_bytes());
        assert_eq!(&next(&dead_letters).body[..], body.as_bytes());
    }
    assert!(log.count("while its transaction was open") > 0);
    assert_eq!(effects::<C>(place), 0);
    goes_on::<C>(place, consumer, 2);
}

pub(crate) fn saving_twice_makes_no_duplicate<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        if payload.body() == "well" {
            return well(conn, payload);
        }
        conn.transaction(|conn| {
            let _ = payload.save(conn)?;
            note(conn)?;
            Ok(payload.save(conn)?)
        })
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send_raw("twice", b"1");
    assert_eq!(&next(&dead_letters).body[..], b"1");
    assert!(log.count("saved the message twice") > 0);
    goes_on::<C>(place, consumer, 1);
}

pub(crate) fn a_proof_holds_for_its_attempt_only<C: Subject>(place: &Place) {
    let kept = Mutex::new(Vec::new());
    let calls = AtomicUsize::new(0);
    let registry = Registry::<C>::new().on_managed("it", move |conn: &mut C, payload: &Payload| {
        let mut kept = kept.lock().unwrap();
        match (
            payload.body().as_str(),
            calls.fetch_add(1, Ordering::SeqCst),
        ) {
            // Keeps proofs of other messages, and one for its next attempt.
            (Some("keeps"), 0) => {
                kept.extend([payload.nack(), payload.nack(), payload.nack()]);
                Err("on purpose".into())
            }
            (Some("keeps" | "borrows"), _) => Ok(kept.pop().unwrap()),
            _ => well(conn, payload),
        }
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    for body in ["\"keeps\"", "\"borrows\""] {
        place.send_raw(body, body.as_bytes());
        assert_eq!(&next(&dead_letters).body[..], body.as_bytes());
    }
    assert!(log.count("or of an earlier attempt") > 0);
    goes_on::<C>(place, consumer, 2);
}

pub(crate) fn an_error_after_its_commit_is_looked_at_by_a_person<C: Subject>(place: &Place) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on_managed("it", move |conn: &mut C, payload: &Payload| {
        let proof = well(conn, payload)?;
        if payload.body() == "well" {
            return Ok(proof);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Err("on purpose".into())
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&registry);
    place.send_raw("late", b"1");
    assert_eq!(&next(&dead_letters).body[..], b"1");
    assert_eq!(effects::<C>(place), 1);
    goes_on::<C>(place, consumer, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "no second effect");
}

/// MariaDB's JSON is limited to 32 levels.
pub(crate) fn a_body_that_its_column_cannot_hold_is_left_out<C: Subject>(place: &Place) {
    const DEPTH: usize = 40;
    let registry = Registry::<C>::new().on_managed("it", well);
    place.declare::<C>();
    let consumer = place.subscribe(&registry);
    let body = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    place.send_raw("deep", body.as_bytes());
    wait_until("it is remembered", || place.counts::<C>().received == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    assert_eq!(effects::<C>(place), 1);
    let mut conn = place.connect::<C>();
    let left_out = conn.number("select count(*) from received where body is null");
    assert_eq!(left_out, i64::from(conn.is_mariadb()));
}

/// PostgreSQL aborts the transaction because of it.
#[cfg(feature = "postgres")]
pub(crate) fn a_body_that_the_encoding_cannot_hold_is_left_out<C: Subject>(place: &Place) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on_managed("it", move |conn: &mut C, payload: &Payload| {
        counted.fetch_add(1, Ordering::SeqCst);
        well(conn, payload)
    });
    place.declare::<C>();
    let consumer = place.subscribe(&registry);
    place.send_raw("arrow", "\"→\"".as_bytes());
    wait_until("it is remembered", || place.counts::<C>().received == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    assert_eq!(effects::<C>(place), 1);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let left_out = "select count(*) from received where body is null";
    assert_eq!(place.connect::<C>().number(left_out), 1);
}

/// What is still open when it returns is rolled back, whatever it has committed before.
pub(crate) fn a_second_transaction_that_is_left_open_is_a_failure<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        let proof = well(conn, payload)?;
        if payload.body() == "open" {
            C::TransactionManager::begin_transaction(conn)?;
            note(conn)?;
        }
        Ok(proof)
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send_raw("open", b"\"open\"");
    assert_eq!(&next(&dead_letters).body[..], b"\"open\"");
    assert!(log.count("while its transaction was open") > 0);
    assert_eq!(effects::<C>(place), 1, "what it committed stays");
    goes_on::<C>(place, consumer, 1);
}

/// The answer to COMMIT is lost, and the callback's error does not show it.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn what_was_committed_before_the_connection_died_counts<C: Subject>(place: &Place) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on_managed("it", move |conn: &mut C, payload: &Payload| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = well(conn, payload)?;
        let _ = conn.batch_execute(match C::NAME {
            "PostgreSQL" => "select pg_terminate_backend(pg_backend_pid())",
            _ => "kill connection_id()",
        });
        if payload.body() == "panics" {
            panic!("on purpose");
        }
        Err("no COMMIT".into())
    });
    place.declare::<C>();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send_raw("a", b"\"panics\"");
    place.send_raw("b", b"\"fails\"");
    wait_until("both have their effect", || effects::<C>(place) == 2);
    wait_until("both are remembered", || place.counts::<C>().received == 2);
    wait_until("both are found", || log.count("received before") == 2);
    let handled = consumer.stop();
    assert_eq!((handled.duplicates, handled.dead), (2, 0));
    assert_eq!(effects::<C>(place), 2);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
