//! The order of calls with the same key.

use std::time::Duration;

use diesel_outbox::Permanent;
use diesel_outbox::admin::Rows;
use diesel_outbox::calls::{self, Call, Executor, NewCall};

use crate::place::{Block, InOrder, Place, Running, Stage, Subject, failure};

pub(crate) fn a_key_is_executed_in_order_over_two_executors<C: Subject>(place: &Place<C>) {
    const CALLS: i64 = 60;
    // Every seventh call fails at first.
    let stage = Stage::new(|n, before| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        if n % 7 == 0 && before == 0 {
            return failure("not yet");
        }
        Ok(())
    });
    let mut conn = place.connect();
    for n in 0..CALLS {
        let key = format!("k{}", n % 3);
        Block { n }.key(key).write(&mut conn).unwrap();
    }
    let executors = [place.start(&stage), place.start(&stage)];
    place.wait_for_statuses(&vec![2; usize::try_from(CALLS).unwrap()]);
    for executor in executors {
        executor.stop();
    }
    let started = stage.started();
    for key in 0..3 {
        let mut of_key: Vec<i64> = started.iter().copied().filter(|n| n % 3 == key).collect();
        // An attempt that failed is followed by the next one of the same call.
        of_key.dedup();
        let expected: Vec<i64> = (0..CALLS).filter(|n| n % 3 == key).collect();
        assert_eq!(of_key, expected, "{started:?}");
    }
}

pub(crate) fn a_failing_key_holds_up_nothing_else<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, _| if n == 1 { failure("broken") } else { Ok(()) });
    let mut conn = place.connect();
    for (n, key) in [(1, Some("a")), (2, Some("a")), (3, Some("b")), (4, None)] {
        let call = NewCall::new(Block { n });
        match key {
            Some(key) => call.key(key).write(&mut conn).unwrap(),
            None => call.write(&mut conn).unwrap(),
        };
    }
    let settings = place.settings().set("retry_attempts", 3);
    let running = place.start_with(settings, &stage);
    place.wait_for_statuses(&[-1, 1, 2, 2]);
    running.stop();
    assert!(!stage.started().contains(&2), "its key is blocked");
}

pub(crate) fn a_failure_in_an_ordered_stream_blocks_it_until_an_operator_acts<C: Subject>(
    place: &Place<C>,
) {
    let stage = Stage::new(|n, before| match (n, before) {
        (1, 0) => Err(Permanent::new("no account").into()),
        _ => Ok(()),
    });
    let mut conn = place.connect();
    let first = InOrder { n: 1 }.write(&mut conn).unwrap();
    InOrder { n: 2 }.write(&mut conn).unwrap();
    InOrder { n: 3 }.write(&mut conn).unwrap();
    // Of the same stream, and not ordered.
    Block { n: 4 }.stream("bills").write(&mut conn).unwrap();
    let calls = place.functions(&stage).add::<InOrder>();
    let config = place.settings().build().unwrap();
    let running = Running::start(Executor::new(&config, calls).unwrap());
    place.wait_for_statuses(&[-1, 1, 1, 2]);
    assert!(!stage.started().contains(&2), "{:?}", stage.started());
    assert_eq!(Rows::Calls.skip(&mut conn, [first]).unwrap().rows, 1);
    place.wait_for_statuses(&[-1, 2, 2, 2]);
    assert_eq!(Rows::Calls.retry(&mut conn, [first]).unwrap().rows, 1);
    place.wait_for_statuses(&[2, 2, 2, 2]);
    let started = stage.started();
    let in_order: Vec<i64> = started.into_iter().filter(|n| *n != 4).collect();
    assert_eq!(in_order, [1, 2, 3, 1]);
    // A call that is not due blocks the later ones as well, until it is cancelled.
    let late = InOrder { n: 5 }
        .delay(Duration::from_secs(3600))
        .write(&mut conn)
        .unwrap();
    InOrder { n: 6 }.write(&mut conn).unwrap();
    Block { n: 7 }.write(&mut conn).unwrap();
    place.wait_for_statuses(&[2, 2, 2, 2, 1, 1, 2]);
    assert!(calls::cancel(&mut conn, late).unwrap());
    place.wait_for_statuses(&[2, 2, 2, 2, -1, 2, 2]);
    running.stop();
}

/// A function may become ordered, or stop to be, while its calls wait.
pub(crate) fn the_order_of_a_call_is_that_of_its_row<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, _| match n {
        1 => Err(Permanent::new("no account").into()),
        _ => Ok(()),
    });
    let mut conn = place.connect();
    let key = if C::NAME == "MySQL/MariaDB" {
        "`key`"
    } else {
        "key"
    };
    for n in 1..=4 {
        InOrder { n }.write(&mut conn).unwrap();
        // As a version of the program writes it that has the function without `ordered`.
        if n % 2 == 0 {
            let last = "(select seq from (select max(seq) as seq from outbox_calls) s)";
            let unordered = format!("update outbox_calls set {key} = null where seq = {last}");
            assert_eq!(conn.run(&unordered).unwrap(), 1);
        }
    }
    let calls = place.functions(&stage).add::<InOrder>();
    let config = place.settings().build().unwrap();
    let running = Running::start(Executor::new(&config, calls).unwrap());
    place.wait_for_statuses(&[-1, 2, 1, 2]);
    assert!(!stage.started().contains(&3), "{:?}", stage.started());
    running.stop();
    assert_eq!(place.statuses(), [-1, 2, 1, 2]);
}
