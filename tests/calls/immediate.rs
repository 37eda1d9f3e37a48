//! Calls that are executed right after the commit.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_outbox::Permanent;
use diesel_outbox::calls::{Call, Immediate};
use diesel_outbox::config::Builder;

use crate::place::{
    Await, Block, Former, OnFailure, Place, Running, Stage, Subject, Within, failure, wait_until,
};

type Outcome = Result<(), diesel_outbox::Error>;

fn handle_with<C: Subject>(place: &Place<C>, settings: Builder, stage: &Stage) -> Immediate<C> {
    Immediate::new(&settings.build().unwrap(), place.functions(stage)).unwrap()
}

pub(crate) fn handle<C: Subject>(place: &Place<C>, stage: &Stage) -> Immediate<C> {
    handle_with(place, place.settings(), stage)
}

const LEASED: &str = "select count(*) as n from outbox_calls where lease_token is not null";

pub(crate) fn calls_run_in_the_order_of_writing_before_it_returns<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    let result = handle.transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
        Block { n: 3 }.write(conn)?;
        Within { n: 1 }.write(conn)?;
        // By a function that knows nothing of the handle, and in one statement.
        diesel_outbox::calls::write_all(conn, [2, 4, 5].map(|n| Block { n }))?;
        assert!(stage.started().is_empty(), "nothing runs before the commit");
        assert_eq!(conn.number(LEASED), 5, "written under a lease");
        Ok(7)
    });
    assert_eq!(result.unwrap(), 7);
    assert_eq!(stage.started(), [3, 1, 2, 4, 5]);
    assert_eq!(place.statuses(), [2; 5]);
    assert_eq!(place.effects(), 1);
    assert_eq!(
        conn.number("select count(distinct name) as n from outbox_calls where done_at is not null"),
        2
    );
    assert_eq!(handle.stats().executed, 5);
}

pub(crate) fn what_is_rolled_back_is_not_executed<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    let result: Outcome = handle.transaction(&mut conn, |conn| {
        Block { n: 1 }.write(conn)?;
        OnFailure { n: 2 }.write(conn)?;
        Err(diesel::result::Error::RollbackTransaction.into())
    });
    assert!(result.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut conn = place.connect();
        let _: Outcome = handle.transaction(&mut conn, |conn| {
            Block { n: 3 }.write(conn)?;
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    // A savepoint that is rolled back takes its calls with it, and no others.
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            let undone: Outcome = conn.transaction(|conn| {
                Block { n: 4 }.write(conn)?;
                OnFailure { n: 5 }.write(conn)?;
                Err(diesel::result::Error::RollbackTransaction.into())
            });
            assert!(undone.is_err());
            Block { n: 6 }.write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [6]);
    assert_eq!(place.statuses(), [2]);
    // Nothing of an earlier transaction is left.
    Block { n: 7 }.write(&mut conn).unwrap();
    assert_eq!(conn.number(LEASED), 0);
    assert_eq!(stage.started(), [6]);
}

pub(crate) fn a_failure_is_recorded_and_an_executor_retries_it<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, before| match (n, before) {
        (1 | 2 | 5, 0) => failure("not yet"),
        (3, 0) => panic!("a function that panics"),
        (4, _) => Err(Permanent::new("never").into()),
        _ => Ok(()),
    });
    let events = Arc::new(Mutex::new(Vec::new()));
    let record = |kind: &'static str| {
        let events = Arc::clone(&events);
        move |call: &diesel_outbox::calls::CallEvent| {
            let event = (kind, call.name.clone(), call.attempt, call.error.clone());
            events.lock().unwrap().push(event);
        }
    };
    let handle = handle_with(
        place,
        place
            .settings()
            .set("retry_first_delay", "1s")
            .set("retry_maximum_delay", "2s"),
        &stage,
    )
    .on_executed(record("executed"))
    .on_failed(record("failed"))
    .on_parked(record("parked"))
    .on_error(record("error"));
    let mut conn = place.connect();
    let result: Outcome = handle.transaction(&mut conn, |conn| {
        for n in 1..=2 {
            Block { n }.key("k").write(conn)?;
        }
        Block { n: 3 }.write(conn)?;
        Block { n: 4 }.write(conn)?;
        Within { n: 5 }.write(conn)?;
        Block { n: 6 }.write(conn)?;
        Ok(())
    });
    assert!(result.is_ok(), "a call does not change the result");
    // The second call of the key waits for the first one.
    assert_eq!(stage.started(), [1, 3, 4, 5, 6]);
    let rows = conn.rows();
    let state = |n: usize| (rows[n].status, rows[n].retry, rows[n].last_error.as_deref());
    assert_eq!(state(0), (1, 1, Some("not yet")));
    assert_eq!(state(1), (1, 0, None));
    assert_eq!((rows[2].status, rows[2].retry), (1, 1));
    assert!(
        rows[2]
            .last_error
            .as_deref()
            .unwrap()
            .contains("a function that panics")
    );
    assert_eq!(state(3), (-1, 1, Some("never")));
    assert_eq!(state(4), (1, 1, Some("not yet")));
    assert_eq!(state(5), (2, 0, None));
    assert_eq!(place.effects(), 0, "the failure rolled back the effect");
    assert_eq!(conn.number(LEASED), 0);
    let kinds = wait_until(|| {
        let events = events.lock().unwrap().clone();
        let kinds: Vec<&str> = events.iter().map(|event| event.0).collect();
        if kinds.len() == 9 {
            Ok(kinds)
        } else {
            Err(events)
        }
    });
    // Each failure is also an error, once.
    assert_eq!(
        kinds,
        [
            "failed", "error", "failed", "error", "parked", "error", "failed", "error", "executed"
        ]
    );
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2, 2, -1, 2, 2]);
    running.stop();
    assert_eq!(place.effects(), 1);
    let of_key: Vec<i64> = stage.started().into_iter().filter(|n| *n < 3).collect();
    assert_eq!(of_key, [1, 1, 2, 2], "in the order of the key");
}

pub(crate) fn in_another_transaction_calls_wait_for_an_executor<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    conn.transaction::<_, diesel_outbox::Error, _>(|conn| {
        handle.transaction(conn, |conn| Block { n: 1 }.write(conn))?;
        assert!(stage.started().is_empty());
        assert_eq!(conn.number(LEASED), 0);
        Ok(())
    })
    .unwrap();
    assert!(stage.started().is_empty());
    assert_eq!(place.statuses(), [1]);
    assert_eq!(place.once(&stage).executed, 1);
    // Inside of another transaction of the handle they run after the outer commit.
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            handle.transaction(conn, |conn| Block { n: 2 }.write(conn))?;
            assert_eq!(stage.started(), [1]);
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [1, 2]);
    // Another connection's calls are its own.
    if C::NAME != "SQLite" {
        let mut other = place.connect();
        handle
            .transaction(&mut conn, |_| Block { n: 3 }.write(&mut other))
            .unwrap();
        assert_eq!(stage.started(), [1, 2]);
        assert_eq!(conn.number(LEASED), 0);
    }
}

pub(crate) fn a_call_does_not_overtake_its_key<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    Block { n: 1 }.key("waits").write(&mut conn).unwrap();
    // Leased by another holder.
    Block { n: 2 }.key("leased").write(&mut conn).unwrap();
    Block { n: 3 }.key("parked").write(&mut conn).unwrap();
    let column = if C::NAME == "MySQL/MariaDB" {
        "`key`"
    } else {
        "key"
    };
    for changes in [
        "due_at = '2999-01-01 00:00:00.000000',
            lease_token = '00000000-0000-4000-8000-000000000000' where KEY = 'leased'",
        "status = -1, due_at = '9000-01-01 00:00:00.000000' where KEY = 'parked'",
    ] {
        let changes = changes.replace("KEY", column);
        let changed = conn.run(&format!("update outbox_calls set {changes}"));
        assert_eq!(changed.unwrap(), 1);
    }
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            for (n, key) in [
                (11, "waits"),
                (12, "leased"),
                (13, "parked"),
                (14, "free"),
                (15, "waits"),
            ] {
                Block { n }.key(key).write(conn)?;
            }
            let later = Duration::from_secs(3600);
            Block { n: 16 }.key("later").delay(later).write(conn)?;
            Block { n: 17 }.key("later").write(conn)?;
            Block { n: 18 }.key("free").write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [14, 18]);
    assert_eq!(conn.number(LEASED), 1, "the others are released");
    place.once(&stage);
    assert_eq!(stage.started()[2..], [1, 11, 15], "in their order");
}

pub(crate) fn what_is_not_executed_here_waits<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    conn.pause_stream("paused", true).unwrap();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Block { n: 1 }.delay(Duration::from_millis(1)).write(conn)?;
            Block { n: 2 }.stream("paused").write(conn)?;
            OnFailure { n: 3 }.stream("paused").write(conn)?;
            // There is no runtime.
            Await { n: 4 }.write(conn)?;
            // An alias is known.
            Former { n: 5 }.write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [5]);
    assert_eq!(conn.number(LEASED), 0);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(place.once(&stage).executed, 2);
    conn.pause_stream("paused", false).unwrap();
    assert_eq!(place.once(&stage).executed, 2);
}

pub(crate) fn async_functions_run_on_the_runtime<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, _| if n == 2 { failure("no") } else { Ok(()) });
    // One worker, which the transaction occupies.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    drop(inside);
    let task = runtime.spawn(async move {
        let written: Outcome = handle.transaction(&mut conn, |conn| {
            for n in 1..=3 {
                Await { n }.write(conn)?;
            }
            Ok(())
        });
        written.unwrap();
    });
    runtime.block_on(task).unwrap();
    assert_eq!(stage.told().ended, [1, 2, 3]);
    let statuses = place.statuses();
    assert_eq!(statuses, [2, 1, 2]);
}

pub(crate) fn a_long_call_keeps_its_lease<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|_, _| {
        std::thread::sleep(Duration::from_millis(2500));
        Ok(())
    });
    let settings = || place.settings().set("call_lease", "1s");
    let handle = handle_with(place, settings(), &stage);
    let running = place.start_with(settings(), &stage);
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut place.connect(), |conn| {
            Block { n: 1 }.write(conn)?;
            Block { n: 2 }.write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(place.statuses(), [2, 2]);
    assert_eq!(running.stop().executed, 0);
    assert_eq!(stage.started(), [1, 2]);
    // A transaction that outlasts the lease begins with a new one.
    let quiet = Stage::quiet();
    let handle = handle_with(place, settings(), &quiet);
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut place.connect(), |conn| {
            Block { n: 3 }.write(conn)?;
            std::thread::sleep(Duration::from_millis(1200));
            Ok(())
        })
        .unwrap();
    assert_eq!(quiet.started(), [3]);
    assert_eq!(place.statuses(), [2, 2, 2]);
}

pub(crate) fn a_lost_lease_records_nothing<C: Subject>(place: &Place<C>) {
    let other = Mutex::new(place.connect());
    let stage = Stage::new(move |n, _| {
        if n == 1 {
            // As an executor that has claimed all of them.
            let stolen =
                "update outbox_calls set lease_token = '00000000-0000-4000-8000-000000000000'";
            other.lock().unwrap().run(stolen).unwrap();
        }
        Ok(())
    });
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Block { n: 1 }.write(conn)?;
            Within { n: 2 }.write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [1], "the second one is not ours any more");
    assert_eq!(place.statuses(), [1, 1]);
    assert_eq!(place.effects(), 0);
    assert_eq!(conn.number(LEASED), 2);
}

const CHILD: &str = "OUTBOX_TEST_DIES_AT";

/// A child process aborts in the middle of its second call.
pub(crate) fn a_dead_process_is_taken_over<C: Subject>(place: &Place<C>) {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "immediate::a_child_process_dies"])
        .env(CHILD, place.url())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let mut conn = place.connect();
    // The first one is recorded; the call without a row is lost, as it is documented.
    assert_eq!(place.statuses(), [2, 1, 1]);
    assert_eq!(conn.number(LEASED), 2);
    let stage = Stage::quiet();
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2, 2]);
    running.stop();
    assert_eq!(stage.started(), [2, 3], "in the order of the key");
}

/// The child process; otherwise it does nothing.
#[test]
fn a_child_process_dies() {
    let Ok(url) = std::env::var(CHILD) else {
        return;
    };
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres") {
        return die::<diesel::PgConnection>(&url);
    }
    #[cfg(feature = "mysql")]
    if url.starts_with("mysql") {
        return die::<diesel::MysqlConnection>(&url);
    }
    #[cfg(feature = "sqlite")]
    die::<diesel::SqliteConnection>(&url);
}

fn die<C: Subject>(url: &str) {
    let settings = diesel_outbox::config::Config::builder()
        .set("database_url", url)
        .set("call_lease", "2s");
    let stage = Stage::new(|n, _| {
        if n == 2 {
            std::process::abort();
        }
        Ok(())
    });
    let handle =
        Immediate::new(&settings.build().unwrap(), crate::place::functions(&stage)).unwrap();
    let mut conn = C::establish(url).unwrap();
    let _: Outcome = handle.transaction(&mut conn, |conn| {
        Block { n: 1 }.write(conn)?;
        Block { n: 2 }.key("k").write(conn)?;
        Block { n: 3 }.key("k").write(conn)?;
        OnFailure { n: 4 }.write(conn)?;
        Ok(())
    });
}

pub(crate) fn an_executor_shares_its_functions_and_is_woken<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    // It would not look by itself for a minute.
    let settings = place
        .settings()
        .set("poll_interval", "1m")
        .set("wake_up", false);
    let calls = place.functions(&stage);
    let executor = diesel_outbox::calls::Executor::new(&settings.build().unwrap(), calls).unwrap();
    let handle = executor.immediate();
    let running = Running::start(executor);
    // Its first claim finds nothing.
    std::thread::sleep(Duration::from_millis(500));
    let began = std::time::Instant::now();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut place.connect(), |conn| {
            Await { n: 1 }.write(conn)?;
            Block { n: 2 }.write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(handle.stats().executed, 1);
    place.wait_for_statuses(&[2, 2]);
    assert!(began.elapsed() < Duration::from_secs(30));
    running.stop();
}

pub(crate) fn a_changed_row_is_not_executed<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let settings = place
        .settings()
        .set("signing_keys", "a:0123456789abcdef")
        .set("sign", true)
        .set("verify_signatures", "require");
    let json = if C::NAME == "PostgreSQL" {
        "::jsonb"
    } else {
        ""
    };
    let first = "(select seq from (select min(seq) as seq from outbox_calls) as s)";
    let changed =
        format!("update outbox_calls set args = '{{\"n\": 3}}'{json} where seq = {first}");
    let handle = handle_with(place, settings, &stage);
    let mut conn = place.connect();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Block { n: 1 }.write(conn)?;
            Block { n: 2 }.write(conn)?;
            conn.run(&changed)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [2]);
    assert_eq!(place.statuses(), [-1, 2]);
}
