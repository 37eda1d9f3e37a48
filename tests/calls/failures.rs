//! Calls that fail, and what is not their fault.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_outbox::Permanent;
use diesel_outbox::admin::{Filter, Rows};
use diesel_outbox::calls::Call;

use crate::place::{
    Await, Block, Hang, Patient, Place, Slow, Stage, Subject, Twice, Within, Yielding, failure,
};

pub(crate) fn a_call_is_retried_until_it_succeeds<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, before| {
        if before < 2 {
            failure("not yet")
        } else {
            Ok(())
        }
    });
    Block { n: 1 }.write(&mut place.connect()).unwrap();
    let running = place.start(&stage);
    place.wait_for_statuses(&[2]);
    let stats = running.stop();
    assert_eq!((stats.executed, stats.failed), (1, 2));
    let row = &place.connect().rows()[0];
    assert_eq!((row.retry, row.last_error.clone()), (2, None));
}

pub(crate) fn an_exhausted_call_is_parked_with_its_reason<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| failure("no such\0 order"));
    Twice { n: 1 }.write(&mut place.connect()).unwrap();
    let running = place.start(&stage);
    place.wait_for_statuses(&[-1]);
    running.stop();
    let row = &place.connect().rows()[0];
    assert_eq!(row.retry, 2);
    assert_eq!(row.last_error.as_deref(), Some("no such\\0 order"));
}

pub(crate) fn a_function_has_its_own_pauses<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| failure("not yet"));
    let mut conn = place.connect();
    Patient { n: 1 }.write(&mut conn).unwrap();
    assert_eq!(place.once(&stage).failed, 1);
    let page = Rows::Calls
        .list(&mut conn, &Filter::new(), None, 1)
        .unwrap();
    let row = &page.rows[0];
    // Longer than the maximum of the settings.
    let pause = row.due_at.unwrap() - row.added;
    assert!((600..=660).contains(&pause.num_seconds()), "{pause}");
    assert_eq!(place.once(&stage).failed, 0);
}

pub(crate) fn an_exhausted_call_blocks_its_key_unless_its_function_says_otherwise<C: Subject>(
    place: &Place<C>,
) {
    let stage = Stage::new(|n, _| {
        if n % 2 == 1 {
            failure("no such order")
        } else {
            Ok(())
        }
    });
    let mut conn = place.connect();
    for n in 1..=2 {
        Yielding { n }.key("a").write(&mut conn).unwrap();
        Block { n }.key("b").write(&mut conn).unwrap();
    }
    let settings = place.settings().set("retry_attempts", 1);
    place.once_with(settings, &stage);
    assert_eq!(place.statuses(), [-1, -1, 2, 1]);
}

pub(crate) fn a_permanent_error_parks_at_once<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| Err(Permanent::new("no account").into()));
    Block { n: 1 }.write(&mut place.connect()).unwrap();
    assert_eq!(place.once(&stage).parked, 1);
    assert_eq!(place.statuses(), [-1]);
    assert_eq!(stage.started(), [1]);
    let error = place.connect().rows()[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("no account"));
}

pub(crate) fn a_panic_is_a_failed_attempt<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, before| {
        assert!(before > 0, "on purpose");
        Ok(())
    });
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    Await { n: 2 }.write(&mut conn).unwrap();
    Within { n: 3 }.write(&mut conn).unwrap();
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2, 2]);
    assert_eq!(running.stop().failed, 3);
    assert_eq!(place.effects(), 1);
}

pub(crate) fn an_async_call_is_dropped_at_its_limit<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    Hang { n: 1 }.write(&mut place.connect()).unwrap();
    let running = place.start(&stage);
    place.wait_for_statuses(&[-1]);
    running.stop();
    assert_eq!(stage.started(), [1, 1], "two attempts");
    let error = place.connect().rows()[0].last_error.clone().unwrap();
    assert!(error.contains("time limit of 50ms"), "{error}");
}

pub(crate) fn a_blocking_call_past_its_limit_still_counts<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        Ok(())
    });
    Slow { n: 1 }.write(&mut place.connect()).unwrap();
    assert_eq!(place.once(&stage).executed, 1);
    assert_eq!(stage.started(), [1]);
    assert_eq!(place.statuses(), [2]);
}

pub(crate) fn what_cannot_be_decoded_is_parked<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    for n in 1..=4 {
        Block { n }.write(&mut conn).unwrap();
    }
    let of = |conn: &mut C, set: &str, seq: i64| {
        let first = conn.number("select min(seq) as n from outbox_calls");
        let statement = format!("update outbox_calls set {set} where seq = {}", first + seq);
        assert_eq!(conn.run(&statement).unwrap(), 1);
    };
    of(&mut conn, "args = '{\"other\": 1}'", 0);
    of(&mut conn, "encoding = 'unheard of'", 1);
    of(&mut conn, "args = null", 2);
    let stats = place.once(&stage);
    assert_eq!((stats.executed, stats.parked), (1, 3));
    let rows = conn.rows();
    let statuses: Vec<i32> = rows.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [-1, -1, -1, 2]);
    for (row, expected) in rows
        .iter()
        .zip(["missing field", "unheard of", "no arguments"])
    {
        let error = row.last_error.as_deref().unwrap();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(stage.started(), [4]);
}

pub(crate) fn an_expired_call_is_parked<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let past = chrono::DateTime::UNIX_EPOCH;
    let call = Block { n: 1 }.expires_at(past);
    call.write(&mut place.connect()).unwrap();
    assert_eq!(place.once(&stage).parked, 1);
    let row = &place.connect().rows()[0];
    assert_eq!(
        (row.status, row.last_error.as_deref()),
        (-1, Some("expired"))
    );
    assert!(stage.started().is_empty());
}

/// What a statement returns that a deadlock has ended.
pub(crate) fn deadlock() -> DieselError {
    DieselError::DatabaseError(
        DatabaseErrorKind::SerializationFailure,
        Box::new("could not serialize access".to_owned()),
    )
}

pub(crate) fn infrastructure_costs_no_attempt<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(move |_, before| {
        if before < 4 {
            return Err(deadlock().into());
        }
        Ok(())
    });
    Within { n: 1 }.write(&mut place.connect()).unwrap();
    let settings = place.settings().set("retry_attempts", 1);
    let running = place.start_with(settings, &stage);
    place.wait_for_statuses(&[2]);
    let stats = running.stop();
    assert_eq!((stats.executed, stats.failed, stats.parked), (1, 0, 0));
    assert_eq!(stage.started().len(), 5);
    assert_eq!(place.connect().rows()[0].retry, 0);
    assert_eq!(place.effects(), 1);
}
