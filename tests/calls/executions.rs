//! Calls that succeed, and which calls an executor takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_outbox::calls::{
    self, Call, Calls, Context, Execute, Executor, ExecutorError, Function, NewCall,
};
use diesel_outbox::correlation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::place::{
    Await, Block, Former, InOrder, Place, Renamed, Running, Stage, Stored, Subject, Within,
    failure, wait_until,
};

pub(crate) fn each_kind_is_executed_once_and_recorded<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    Await { n: 2 }.write(&mut conn).unwrap();
    Within { n: 3 }.write(&mut conn).unwrap();
    let stats = place.once(&stage);
    assert_eq!((stats.executed, stats.failed, stats.parked), (3, 0, 0));
    assert_eq!(place.statuses(), [2, 2, 2]);
    assert_eq!(place.effects(), 1);
    let done = "select count(*) as n from outbox_calls where done_at is not null";
    assert_eq!(conn.number(done), 3);
    let again = place.once(&stage);
    assert_eq!(again.executed, 0);
    let mut started = stage.started();
    started.sort_unstable();
    assert_eq!(started, [1, 2, 3]);
}

pub(crate) fn what_is_rolled_back_never_runs<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    let rolled_back: Result<(), diesel_outbox::Error> = conn.transaction(|conn| {
        Block { n: 1 }.write(conn)?;
        Err(diesel::result::Error::RollbackTransaction.into())
    });
    assert!(rolled_back.is_err());
    Block { n: 2 }.write(&mut conn).unwrap();
    assert_eq!(place.once(&stage).executed, 1);
    assert_eq!(stage.started(), [2]);
}

pub(crate) fn unknown_names_wait_for_another_executor<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Former { n: 1 }.write(&mut conn).unwrap();
    Block { n: 2 }.write(&mut conn).unwrap();
    let config = place.settings().build().unwrap();
    let calls = Calls::<C>::new()
        .add::<Block>()
        .state(Arc::new(stage.clone()));
    let first = Running::start(Executor::new(&config, calls).unwrap());
    place.wait_for_statuses(&[1, 2]);
    // In the time of several more claims it is never leased.
    let leased =
        "select count(*) as n from outbox_calls where lease_token is not null and status = 1";
    for _ in 0..200 {
        assert_eq!(conn.number(leased), 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let rows = conn.rows();
    assert_eq!((rows[0].status, rows[0].retry), (1, 0));
    let second = place.start(&stage);
    place.wait_for_statuses(&[2, 2]);
    assert_eq!(first.stop().executed, 1);
    assert_eq!(second.stop().executed, 1);
}

pub(crate) fn aliases_are_executed<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Former { n: 1 }.write(&mut conn).unwrap();
    Renamed { n: 2 }.write(&mut conn).unwrap();
    assert_eq!(place.once(&stage).executed, 2);
    assert_eq!(place.statuses(), [2, 2]);
}

pub(crate) fn a_correlation_id_is_carried_on<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    correlation::scope("request-7", || {
        Block { n: 1 }.write(&mut conn).unwrap();
        Await { n: 2 }.write(&mut conn).unwrap();
        Within { n: 3 }.write(&mut conn).unwrap();
    });
    place.once(&stage);
    let expected = Some("request-7".to_owned());
    assert_eq!(stage.told().correlation, vec![expected; 3]);
}

/// The kind of a hook, the id of a call, and its attempt.
type Seen = (&'static str, uuid::Uuid, u32);

pub(crate) fn hooks_learn_of_each_execution<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, before| match (n, before) {
        (2, 0) | (3, _) => failure("broken"),
        _ => Ok(()),
    });
    let mut conn = place.connect();
    let ids = [1, 2, 3].map(|n| {
        NewCall::new(Block { n })
            .stream("s")
            .write(&mut conn)
            .unwrap()
    });
    let config = place.settings().set("retry_attempts", 2).build().unwrap();
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let note = |kind: &'static str| {
        let seen = Arc::clone(&seen);
        move |event: &diesel_outbox::calls::CallEvent| {
            assert_eq!(event.name, "test.block");
            assert_eq!(event.stream.as_deref(), Some("s"));
            assert_eq!(event.error.is_some(), kind != "executed");
            seen.lock().unwrap().push((kind, event.id, event.attempt));
            panic!("on purpose");
        }
    };
    let executor = Executor::new(&config, place.functions(&stage)).unwrap();
    let executor = executor
        .on_executed(note("executed"))
        .on_failed(note("failed"))
        .on_parked(note("parked"))
        .on_error(note("error"));
    let running = Running::start(executor);
    place.wait_for_statuses(&[2, 2, -1]);
    running.stop();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(|(kind, id, attempt)| (ids.iter().position(|it| it == id), *attempt, *kind));
    let expected = [
        ("executed", ids[0], 1),
        ("error", ids[1], 1),
        ("failed", ids[1], 1),
        ("executed", ids[1], 2),
        ("error", ids[2], 1),
        ("failed", ids[2], 1),
        ("error", ids[2], 2),
        ("parked", ids[2], 2),
    ];
    assert_eq!(seen, expected);
}

pub(crate) fn a_stop_waits_for_running_calls_and_releases_the_others<C: Subject>(place: &Place<C>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let stage = Stage::new(move |n, _| {
        if n == 1 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(())
    });
    let mut conn = place.connect();
    for n in 1..=4 {
        Block { n }.write(&mut conn).unwrap();
    }
    let running = place.start_with(place.settings().set("call_workers", 1), &stage);
    stage.wait_for_starts(1);
    running.ask_to_stop();
    let leased =
        "select count(*) as n from outbox_calls where lease_token is not null and status = 1";
    wait_until(|| match conn.number(leased) {
        1 => Ok(()),
        other => Err(other),
    });
    assert_eq!(place.statuses(), [1, 1, 1, 1]);
    open.send(()).unwrap();
    assert_eq!(running.stop().executed, 1);
    assert_eq!(place.statuses(), [2, 1, 1, 1]);
    assert_eq!(stage.started(), [1]);
}

/// After short calls, others wait for the thread of the worker, too.
pub(crate) fn a_stop_releases_what_waits_for_a_thread<C: Subject>(place: &Place<C>) {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let stage = Stage::new(move |n, _| {
        if n == 100 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(())
    });
    let mut conn = place.connect();
    calls::write_all(&mut conn, (1..=150).map(|n| Block { n })).unwrap();
    let running = place.start_with(place.settings().set("call_workers", 1), &stage);
    stage.wait_for_starts(100);
    running.ask_to_stop();
    let leased =
        "select count(*) as n from outbox_calls where lease_token is not null and status = 1";
    wait_until(|| match conn.number(leased) {
        1 => Ok(()),
        other => Err(other),
    });
    open.send(()).unwrap();
    assert_eq!(running.stop().executed, 100);
    assert_eq!(stage.started(), (1..=100).collect::<Vec<_>>());
    let rows = conn.rows();
    assert!(rows[..100].iter().all(|row| row.status == 2));
    let released = |row: &Stored| (row.status, row.retry, row.crashes) == (1, 0, 0);
    assert!(rows[100..].iter().all(released), "{rows:?}");
    assert_eq!(place.once(&stage).executed, 50);
}

pub(crate) fn the_wait_for_a_thread_is_not_of_the_execution<C: Subject>(place: &Place<C>) {
    const LONG: Duration = Duration::from_secs(2);
    let stage = Stage::new(|n, _| {
        if n == 100 {
            std::thread::sleep(LONG);
        }
        Ok(())
    });
    let mut conn = place.connect();
    calls::write_all(&mut conn, (1..=120).map(|n| Block { n })).unwrap();
    let settings = place.settings().set("call_workers", 1);
    let config = settings.set("call_timeout", "60 s").build().unwrap();
    let durations: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let seen = Arc::clone(&durations);
    let executor = Executor::new(&config, place.functions(&stage))
        .unwrap()
        .on_executed(move |event| seen.lock().unwrap().push(event.duration));
    let running = Running::start(executor);
    place.wait_for_statuses(&[2; 120]);
    running.stop();
    let long = durations
        .lock()
        .unwrap()
        .iter()
        .filter(|it| **it >= LONG)
        .count();
    assert_eq!(long, 1, "the next calls waited as long for the thread");
    let left = stage.told().time_left.clone();
    let least = left.into_iter().map(Option::unwrap).min().unwrap();
    assert!(least > Duration::from_secs(60) - LONG / 2, "{least:?}");
}

pub(crate) fn done_calls_are_deleted_after_their_time<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, _| if n == 2 { failure("broken") } else { Ok(()) });
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    Block { n: 2 }.write(&mut conn).unwrap();
    let settings = place
        .settings()
        .set("days_to_keep", 0)
        .set("retry_attempts", 1);
    let executor = Executor::new(&settings.build().unwrap(), place.functions(&stage)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stats = runtime.block_on(executor.run_once(&diesel_outbox::Shutdown::new()));
    assert_eq!(stats.unwrap().executed, 1);
    let rows = conn.rows();
    assert_eq!((rows.len(), rows[0].status), (1, -1), "a parked call stays");
}

pub(crate) fn two_executors_execute_nothing_twice<C: Subject>(place: &Place<C>) {
    const CALLS: i64 = 200;
    let stage = Stage::quiet();
    let mut conn = place.connect();
    for n in 0..CALLS {
        Block { n }.write(&mut conn).unwrap();
    }
    let executors = [place.start(&stage), place.start(&stage)];
    place.wait_for_statuses(&vec![2; usize::try_from(CALLS).unwrap()]);
    let executed: u64 = executors
        .map(|executor| executor.stop().executed)
        .iter()
        .sum();
    assert_eq!(executed, CALLS.unsigned_abs());
    let mut started = stage.started();
    started.sort_unstable();
    assert_eq!(started, (0..CALLS).collect::<Vec<_>>());
}

pub(crate) fn a_misspelled_stream_is_refused<C: Subject>(place: &Place<C>) {
    let start = |stream: &str| {
        let config = place.settings().set("stream", stream).build().unwrap();
        let executor = Executor::new(&config, place.functions(&Stage::quiet())).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(executor.run_once(&diesel_outbox::Shutdown::new()))
    };
    Block { n: 1 }
        .stream("bills")
        .write(&mut place.connect())
        .unwrap();
    assert_eq!(start("bills").unwrap().executed, 1);
    let error = start("bill").unwrap_err();
    assert!(matches!(error, ExecutorError::UnknownStream(_)), "{error}");
    assert!(error.to_string().contains("`bills`"), "{error}");
}

pub(crate) fn the_stream_of_a_function_is_known_without_rows<C: Subject>(place: &Place<C>) {
    let once = |stream: &str| {
        let config = place.settings().set("stream", stream).build().unwrap();
        let calls = place.functions(&Stage::quiet()).add::<InOrder>();
        let executor = Executor::new(&config, calls).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(executor.run_once(&diesel_outbox::Shutdown::new()))
    };
    assert_eq!(once("bills").unwrap().executed, 0);
    let error = once("bill").unwrap_err();
    assert!(matches!(error, ExecutorError::UnknownStream(_)), "{error}");
    assert!(error.to_string().contains("`bills`"), "{error}");
}

pub(crate) fn an_executor_of_a_stream_takes_only_its_calls<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    Block { n: 2 }.stream("bills").write(&mut conn).unwrap();
    Block { n: 3 }.stream("mail").write(&mut conn).unwrap();
    let bills = place.settings().set("stream", "bills");
    assert_eq!(place.once_with(bills, &stage).executed, 1);
    assert_eq!(stage.started(), [2]);
    // Without a stream it takes all calls.
    assert_eq!(place.once(&stage).executed, 2);
    assert_eq!(place.statuses(), [2, 2, 2]);
}

/// Parameters with the names that other formats use for themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AnyArguments {
    args: Vec<Value>,
    kwargs: BTreeMap<String, Value>,
    name: Option<String>,
    payload: String,
}

impl Call for AnyArguments {
    const NAME: &'static str = "test.any_arguments";
}

impl<C> Execute<C> for AnyArguments {
    const FUNCTION: Function<Self, C> = Function::Blocking(|call, context: &Context| {
        let seen = context.state::<Mutex<Vec<Self>>>()?;
        seen.lock().unwrap().push(call);
        Ok(())
    });
}

pub(crate) fn arguments_arrive_as_they_were_written<C: Subject>(place: &Place<C>) {
    let mut conn = place.connect();
    let written = [
        AnyArguments {
            args: vec![json!(1), json!([null, "two", -3.5])],
            kwargs: BTreeMap::from([
                ("foo".to_owned(), json!({"bar": {"args": []}})),
                (String::new(), json!(i64::MAX)),
            ]),
            name: Some("é 'quoted' \\ \u{1F600}".to_owned()),
            payload: "x".repeat(100_000),
        },
        AnyArguments {
            args: Vec::new(),
            kwargs: BTreeMap::new(),
            name: None,
            payload: String::new(),
        },
    ];
    for call in &written {
        call.clone().key("k").write(&mut conn).unwrap();
    }
    let seen: Arc<Mutex<Vec<AnyArguments>>> = Arc::default();
    let calls = Calls::<C>::new()
        .add::<AnyArguments>()
        .state(Arc::clone(&seen));
    let executor = Executor::new(&place.settings().build().unwrap(), calls).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stats = runtime.block_on(executor.run_once(&diesel_outbox::Shutdown::new()));
    assert_eq!(stats.unwrap().executed, 2);
    assert_eq!(*seen.lock().unwrap(), written);
}

pub(crate) fn only_calls_executed_before_the_days_to_keep_are_deleted<C: Subject>(
    place: &Place<C>,
) {
    let stage = Stage::new(|n, _| if n == 4 { failure("broken") } else { Ok(()) });
    let mut conn = place.connect();
    for n in 1..=2 {
        Block { n }.write(&mut conn).unwrap();
    }
    assert_eq!(place.once(&stage).executed, 2);
    let waiting = std::time::Duration::from_secs(3600);
    Block { n: 3 }.delay(waiting).write(&mut conn).unwrap();
    Block { n: 4 }.write(&mut conn).unwrap();
    let settings = || place.settings().set("retry_attempts", 1);
    let running = place.start_with(settings(), &stage);
    place.wait_for_statuses(&[2, 2, 1, -1]);
    running.stop();
    let first = conn.number("select min(seq) as n from outbox_calls");
    let ago = |days: i64| C::time_literal(chrono::Utc::now() - chrono::Duration::days(days));
    conn.run(&format!("update outbox_calls set added = {}", ago(30)))
        .unwrap();
    for (row, days) in [(0, 6), (1, 4)] {
        let done = ago(days);
        let row = first + row;
        conn.run(&format!(
            "update outbox_calls set done_at = {done} where seq = {row}"
        ))
        .unwrap();
    }
    // The executor above has cleaned, with nothing to delete.
    conn.run("delete from outbox_jobs").unwrap();
    place.once_with(settings().set("days_to_keep", 5), &stage);
    assert_eq!(place.statuses(), [2, 1, -1]);
}
