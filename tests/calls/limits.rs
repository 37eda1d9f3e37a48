//! Time limits of functions, and the number of calls that are executed after one commit.

use std::time::Duration;

use diesel_outbox::calls::{self, Call, Executor, Immediate};
use diesel_outbox::config::Builder;
use tokio::runtime;

use crate::immediate::handle;
use crate::place::{Await, Block, Hang, OnFailure, Place, Running, Slow, Stage, Subject};
use crate::support::log::Log;

type Outcome = Result<(), diesel_outbox::Error>;

const PAST_ITS_LIMIT: &str = "a call runs longer than its time limit";

/// A function runs longer than its limit, and its limit is longer than the lease.
pub(crate) fn a_blocking_call_past_its_limit_is_logged_and_keeps_its_lease<C: Subject>(
    place: &Place<C>,
) {
    let stage = Stage::new(|_, _| {
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    });
    let settings = || -> Builder {
        let settings = place.settings().set("call_timeout", "2s");
        settings.set("call_lease", "1s")
    };
    let id = Block { n: 1 }.write(&mut place.connect()).unwrap();
    let log = Log::default();
    let collecting = log.collect(tracing::Level::WARN);
    let functions = place.functions(&stage);
    let other = Executor::new(&settings().build().unwrap(), functions).unwrap();
    let begun = stage.clone();
    let other = std::thread::spawn(move || {
        begun.wait_for_starts(1);
        Running::start(other)
    });
    let ours = place.once_with(settings(), &stage);
    let others = other.join().unwrap().stop();
    drop(collecting);
    assert_eq!((ours.executed, others.executed), (1, 0));
    assert_eq!(stage.started(), [1]);
    assert_eq!(place.statuses(), [2]);
    assert_eq!(log.count(PAST_ITS_LIMIT), 1, "{}", log.text());
    assert!(log.text().contains(&id.to_string()));
    assert!(log.text().contains("limit=2s"));
}

pub(crate) fn a_call_past_its_limit_is_logged_after_the_commit<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, _| {
        std::thread::sleep(Duration::from_millis(if n == 1 { 100 } else { 0 }));
        Ok(())
    });
    let handle = handle(place, &stage);
    let log = Log::default();
    let collecting = log.collect(tracing::Level::WARN);
    let written: Outcome = handle.transaction(&mut place.connect(), |conn| {
        Slow { n: 1 }.write(conn)?;
        Slow { n: 2 }.write(conn)?;
        Ok(())
    });
    drop(collecting);
    written.unwrap();
    assert_eq!(place.statuses(), [2, 2]);
    assert_eq!(log.count(PAST_ITS_LIMIT), 1, "{}", log.text());
}

pub(crate) fn an_async_call_is_dropped_at_its_limit_after_the_commit<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let runtime = runtime::Runtime::new().unwrap();
    let handle = handle(place, &stage).runtime(runtime.handle().clone());
    let written: Outcome = handle.transaction(&mut place.connect(), |conn| {
        Hang { n: 1 }.write(conn)?;
        Await { n: 2 }.write(conn)?;
        Ok(())
    });
    written.unwrap();
    assert_eq!(stage.started(), [1, 2]);
    let rows = place.connect().rows();
    assert_eq!((rows[0].status, rows[0].retry), (1, 1));
    let error = rows[0].last_error.as_deref().unwrap();
    assert!(error.contains("time limit of 50ms"), "{error}");
    assert_eq!(rows[1].status, 2);
}

/// The calling thread, which would wait, may be its only one.
pub(crate) fn a_runtime_of_one_thread_executes_no_call<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let made_inside = {
        let _inside = runtime.enter();
        handle(place, &stage)
    };
    let given = handle(place, &stage).runtime(runtime.handle().clone());
    let executes_the_others = |handle: &Immediate<C>, n: i64| {
        let written: Outcome = handle.transaction(&mut place.connect(), |conn| {
            Await { n }.write(conn)?;
            Block { n: n + 1 }.write(conn)?;
            Ok(())
        });
        written.unwrap();
    };
    runtime.block_on(async { executes_the_others(&made_inside, 1) });
    executes_the_others(&given, 3);
    assert_eq!(stage.started(), [2, 4]);
    assert_eq!(place.statuses(), [1, 2, 1, 2]);
    assert_eq!(place.once(&stage).executed, 2);
}

/// The number of calls that are executed after a commit.
const MOST: i64 = 1_000;

pub(crate) fn calls_after_the_first_thousand_wait<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    let written: Outcome = handle.transaction(&mut conn, |conn| {
        calls::write_all(conn, (1..=MOST - 1).map(|n| Block { n }))?;
        calls::write_all(conn, (MOST..=MOST + 1).map(|n| Block { n }))?;
        Block { n: MOST + 2 }.write(conn)?;
        Ok(())
    });
    written.unwrap();
    assert_eq!(stage.started(), (1..=MOST).collect::<Vec<_>>());
    let waiting = "select count(*) as n from outbox_calls where status = 1 and lease_token is null";
    assert_eq!(conn.number(waiting), 2);
    assert_eq!(place.once(&stage).executed, 2);
}

pub(crate) fn calls_without_rows_after_the_first_thousand_have_one<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let written: Outcome = handle.transaction(&mut place.connect(), |conn| {
        calls::write_all(conn, (1..=MOST - 1).map(|n| OnFailure { n }))?;
        calls::write_all(conn, (MOST..=MOST + 1).map(|n| OnFailure { n }))?;
        OnFailure { n: MOST + 2 }.write(conn)?;
        Ok(())
    });
    written.unwrap();
    assert_eq!(stage.started(), (1..=MOST).collect::<Vec<_>>());
    assert_eq!(place.statuses(), [1, 1]);
    assert_eq!(place.once(&stage).executed, 2);
}
