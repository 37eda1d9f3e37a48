//! Callbacks that end the inbox's transaction, by themselves or by a statement that commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel_outbox::{BoxError, Outcome, Payload, Registry};

use crate::place::{Place, Subject, next, wait_until};

fn note<C: Subject>(conn: &mut C) -> Result<(), BoxError> {
    Ok(conn.batch_execute("insert into effects (note) values ('it')")?)
}

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

/// The callback executes the body in the middle of its work; `fails` at its end makes it fail.
fn executes<C: Subject>(conn: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
    let text = payload.body().as_str().unwrap_or_default();
    note(conn)?;
    if let Some(statements) = text.strip_suffix("fails") {
        conn.batch_execute(statements)?;
        return Err("on purpose".into());
    }
    if !text.is_empty() {
        conn.batch_execute(text)?;
        note(conn)?;
    }
    Ok(Outcome::Done)
}

/// Each of them goes to the dead letters after one call, and the messages after them are handled.
fn are_given_up<C: Subject>(place: &Place, bodies: &[&str], words: &str) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            executes(conn, payload)
        },
    );
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    for (n, statements) in bodies.iter().enumerate() {
        let body = format!("{statements:?}");
        place.send_raw(&n.to_string(), body.as_bytes());
        assert_eq!(&next(&dead_letters).body[..], body.as_bytes());
        assert_eq!(place.counts::<C>().received, 0, "{statements}");
        assert!(log.count(words) > n, "{statements}: {}", log.text());
    }
    let before = effects::<C>(place);
    place.send_raw("well", b"\"\"");
    wait_until("the next message has its effect", || {
        effects::<C>(place) == before + 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates), (1, 0));
    assert_eq!(handled.dead, bodies.len() as u64);
    assert_eq!(place.counts::<C>().received, 1);
    assert_eq!(calls.load(Ordering::SeqCst), bodies.len() + 1);
}

pub(crate) fn a_callback_that_commits_is_given_up<C: Subject>(place: &Place) {
    let bodies = ["commit", "commit; begin", "commit;fails"];
    are_given_up::<C>(place, &bodies, "committed too early");
}

pub(crate) fn a_callback_that_rolls_back_is_given_up<C: Subject>(place: &Place) {
    let bodies = ["rollback", "rollback; begin"];
    are_given_up::<C>(place, &bodies, "by a ROLLBACK");
}

/// The server commits before and after it.
#[cfg(feature = "mysql")]
pub(crate) fn ddl_in_a_callback_is_noticed<C: Subject>(place: &Place) {
    let bodies = [
        "create table one (id int)",
        "create table two (id int);fails",
        "alter table one add column note text",
        "drop table two; begin",
    ];
    are_given_up::<C>(place, &bodies, "committed too early");
}

#[cfg(feature = "mysql")]
pub(crate) fn ddl_in_a_managed_callback_is_noticed<C: Subject>(place: &Place) {
    let registry = Registry::<C>::new().on_managed("it", |conn: &mut C, payload: &Payload| {
        conn.transaction::<_, BoxError, _>(|conn| {
            let proof = payload.save(conn)?;
            note(conn)?;
            if payload.body() != "well" {
                conn.batch_execute("create table one (id int)")?;
                return Err("on purpose".into());
            }
            Ok(proof)
        })
    });
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send_raw("ddl", b"1");
    assert_eq!(&next(&dead_letters).body[..], b"1");
    assert_eq!(log.count("committed too early"), 1);
    assert_eq!(place.counts::<C>().received, 0);
    place.send_raw("well", b"\"well\"");
    wait_until("the next message is done", || {
        place.counts::<C>().received == 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead, handled.duplicates), (1, 1, 0));
}
