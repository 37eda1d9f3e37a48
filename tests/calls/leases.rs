//! Leases while a call runs.

use std::time::Duration;

use diesel_outbox::calls::Call;

use crate::place::{Block, Place, Stage, Subject};

pub(crate) fn a_call_of_three_leases_runs_once<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| {
        std::thread::sleep(Duration::from_secs(6));
        Ok(())
    });
    Block { n: 1 }.write(&mut place.connect()).unwrap();
    let settings = || place.settings().set("call_lease", "2s");
    let executors = [settings(), settings()].map(|it| place.start_with(it, &stage));
    place.wait_for_statuses(&[2]);
    let executed: u64 = executors
        .map(|executor| executor.stop().executed)
        .iter()
        .sum();
    assert_eq!(executed, 1);
    assert_eq!(stage.started(), [1]);
}

pub(crate) fn an_expired_lease_is_taken_over<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    // As an executor leaves it that died.
    conn.run("update outbox_calls set lease_token = '00000000-0000-4000-8000-000000000000'")
        .unwrap();
    assert_eq!(place.once(&stage).executed, 1);
    assert_eq!(place.statuses(), [2]);
}
