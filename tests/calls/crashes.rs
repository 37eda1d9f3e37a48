//! Calls whose holder died.

use diesel_outbox::admin::Rows;
use diesel_outbox::calls::Call;

use crate::place::{Block, Place, Stage, Subject};

/// What a holder leaves that died with this many counted executions.
fn died<C: Subject>(conn: &mut C, n: i64, crashes: i32) {
    Block { n }.write(conn).unwrap();
    conn.run(&format!(
        "update outbox_calls set crashes = {crashes},
            lease_token = '00000000-0000-4000-8000-000000000000'
        where seq = (select last from (select max(seq) as last from outbox_calls) as it)"
    ))
    .unwrap();
}

pub(crate) fn a_suspect_is_counted_and_parked<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    // Ten counted executions: the limit.
    died(&mut conn, 1, 11);
    Block { n: 2 }.write(&mut conn).unwrap();
    let stats = place.once(&stage);
    assert_eq!((stats.executed, stats.parked), (1, 1));
    assert_eq!(stage.started(), [2]);
    let row = &conn.rows()[0];
    let error = row.last_error.as_deref().unwrap();
    assert!(error.contains("10 times in a row"), "{error}");
    // Else it would be executed again if this process had ended before it was parked.
    assert_eq!(row.crashes, 11);
    assert_eq!(Rows::Calls.retry_all(&mut conn).unwrap(), 1);
    assert_eq!(conn.rows()[0].crashes, 0, "a retry begins anew");
    assert_eq!(place.once(&stage).executed, 1);
}

pub(crate) fn a_suspect_is_counted_before_it_starts_and_runs_alone<C: Subject>(place: &Place<C>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let stage = Stage::new(move |n, _| {
        if n == 1 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(())
    });
    let mut conn = place.connect();
    died(&mut conn, 1, 0);
    Block { n: 2 }.write(&mut conn).unwrap();
    let running = place.start(&stage);
    stage.wait_for_starts(1);
    // Marked by the claim, and counted before it started.
    assert_eq!(conn.rows()[0].crashes, 2);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(stage.started(), [1]);
    open.send(()).unwrap();
    place.wait_for_statuses(&[2, 2]);
    running.stop();
    assert_eq!(conn.rows()[0].crashes, 0);
}

pub(crate) fn a_suspect_that_returns_is_cleared<C: Subject>(place: &Place<C>) {
    let url = place.settings();
    let stage = Stage::new(|_, before| {
        if before == 0 {
            return crate::place::failure("not yet");
        }
        Ok(())
    });
    let mut conn = place.connect();
    died(&mut conn, 1, 0);
    died(&mut conn, 2, 5);
    let running = place.start_with(url, &stage);
    place.wait_for_statuses(&[2, 2]);
    running.stop();
    let crashes: Vec<i32> = conn.rows().iter().map(|row| row.crashes).collect();
    assert_eq!(crashes, [0, 0]);
}

/// A call that the database interrupts has perhaps not run at all: what its executions before did is not forgotten.
pub(crate) fn an_outage_clears_no_suspect<C: Subject>(place: &Place<C>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let stage = Stage::new(move |_, before| {
        if before == 0 {
            return Err(crate::failures::deadlock().into());
        }
        let _ = gate.lock().unwrap().recv();
        Ok(())
    });
    let mut conn = place.connect();
    died(&mut conn, 1, 5);
    let running = place.start(&stage);
    stage.wait_for_starts(2);
    assert_eq!(conn.rows()[0].crashes, 6);
    open.send(()).unwrap();
    place.wait_for_statuses(&[2]);
    running.stop();
    assert_eq!(conn.rows()[0].crashes, 0);
}
