//! Functions that work in the transaction that settles their call.

use std::sync::Mutex;

use diesel_outbox::calls::Call;

use crate::place::{Place, Stage, Subject, Within, failure, wait_until};

pub(crate) fn the_effect_is_there_once<C: Subject>(place: &Place<C>) {
    const CALLS: i64 = 30;
    let stage = Stage::new(|n, before| {
        if n % 3 == before as i64 {
            failure("no")
        } else {
            Ok(())
        }
    });
    let mut conn = place.connect();
    for n in 0..CALLS {
        Within { n }.write(&mut conn).unwrap();
    }
    let executors = [place.start(&stage), place.start(&stage)];
    place.wait_for_statuses(&vec![2; usize::try_from(CALLS).unwrap()]);
    for executor in executors {
        executor.stop();
    }
    assert_eq!(place.effects(), CALLS);
    let distinct = "select count(distinct n) as n from effects";
    assert_eq!(conn.number(distinct), CALLS);
}

pub(crate) fn a_failure_rolls_back_the_effect<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| failure("broken"));
    Within { n: 1 }.write(&mut place.connect()).unwrap();
    let settings = place.settings().set("retry_attempts", 2);
    let running = place.start_with(settings, &stage);
    place.wait_for_statuses(&[-1]);
    running.stop();
    assert_eq!(stage.started(), [1, 1]);
    assert_eq!(place.effects(), 0);
}

/// The token of a call is replaced before its transaction begins.
pub(crate) fn a_lost_lease_commits_nothing<C: Subject>(place: &Place<C>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    // With one worker the second call waits, claimed, for the first one.
    let stage = Stage::new(move |n, _| {
        if n == 1 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(())
    });
    let mut conn = place.connect();
    crate::place::Block { n: 1 }.write(&mut conn).unwrap();
    Within { n: 2 }.write(&mut conn).unwrap();
    let running = place.start_with(place.settings().set("call_workers", 1), &stage);
    stage.wait_for_starts(1);
    let stolen = "update outbox_calls set lease_token = '00000000-0000-4000-8000-000000000000'
        where name = 'test.within' and lease_token is not null";
    assert_eq!(conn.run(stolen).unwrap(), 1);
    open.send(()).unwrap();
    place.wait_for_statuses(&[2, 1]);
    running.stop();
    assert_eq!(place.effects(), 0);
    assert_eq!(stage.started(), [1]);
}

pub(crate) fn a_function_that_ends_its_transaction_is_parked<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| failure("rollback"));
    Within { n: 1 }.write(&mut place.connect()).unwrap();
    assert_eq!(place.once(&stage).parked, 1);
    let row = &place.connect().rows()[0];
    assert_eq!(row.status, -1);
    let error = row.last_error.as_deref().unwrap();
    assert!(error.contains("ended its transaction"), "{error}");
    assert_eq!(place.effects(), 0);
}

/// Makes the database refuse to record calls as done.
fn refuse_settlement<C: Subject>(conn: &mut C) -> &'static str {
    let (statements, undo): (&[&str], _) = match C::NAME {
        "SQLite" => (
            &[
                "create trigger refuse before update on outbox_calls when new.status = 2
                begin select raise(abort, 'on purpose'); end",
            ],
            "drop trigger refuse",
        ),
        "PostgreSQL" => (
            &[
                "create function refuse() returns trigger language plpgsql as
                    $$ begin raise exception 'on purpose' using errcode = '40001'; end $$",
                "create trigger refuse before update on outbox_calls
                    for each row when (new.status = 2) execute function refuse()",
            ],
            "drop trigger refuse on outbox_calls",
        ),
        _ => (
            &[
                "create trigger refuse before update on outbox_calls for each row
                if new.status = 2 then signal sqlstate '40001' set message_text = 'on purpose';
                end if",
            ],
            "drop trigger refuse",
        ),
    };
    for statement in statements {
        conn.batch_execute(statement).unwrap();
    }
    undo
}

pub(crate) fn nothing_is_committed_without_the_settlement<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Within { n: 1 }.write(&mut conn).unwrap();
    let undo = refuse_settlement(&mut conn);
    let running = place.start(&stage);
    wait_until(|| {
        let row = conn.rows().remove(0);
        match &row.last_error {
            Some(error) if error.contains("on purpose") => Ok(()),
            _ => Err(row),
        }
    });
    assert_eq!(place.effects(), 0);
    assert_eq!(conn.rows()[0].retry, 0);
    conn.batch_execute(undo).unwrap();
    place.wait_for_statuses(&[2]);
    running.stop();
    assert_eq!(place.effects(), 1);
}
