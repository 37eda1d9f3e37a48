//! The order of calls with the same key.

use diesel_outbox::calls::{Call, NewCall};

use crate::place::{Block, Place, Stage, Subject, failure};

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
