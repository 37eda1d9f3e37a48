//! Executors that wait, and what wakes them.

use std::time::Duration;

use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_outbox::Permanent;
use diesel_outbox::admin::{self, Rows};
use diesel_outbox::calls::{self, Call, Executor};
use diesel_outbox::config::Builder;
use diesel_outbox::relay::OnCommit;

use crate::place::{Block, Place, Running, Stage, Subject};

/// Longer than any test: a call that was executed was not found by the next poll.
fn sleepy<C: Subject>(place: &Place<C>) -> Builder {
    place.settings().set("poll_interval", "1h")
}

pub(crate) fn a_commit_wakes_the_executor<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    let running = place.start_with(sleepy(place), &stage);
    for n in 1..=5 {
        // It is idle: claims that follow the last execution are over.
        std::thread::sleep(Duration::from_millis(200));
        Block { n }.write(&mut conn).unwrap();
        stage.wait_for_starts(usize::try_from(n).unwrap());
    }
    running.stop();
}

pub(crate) fn an_operator_wakes_the_executor<C: Subject>(place: &Place<C>) {
    // MySQL sends no notifications, and only new rows are seen without a poll.
    let settings = if C::NAME == "MySQL/MariaDB" {
        place.settings()
    } else {
        sleepy(place)
    };
    let stage = Stage::new(|n, before| match (n, before) {
        (1 | 2, 0) => Err(Permanent::new("no account").into()),
        _ => Ok(()),
    });
    let mut conn = place.connect();
    // Before the executor starts: a claim in progress does not see the pause.
    admin::pause_stream(&mut conn, "bills").unwrap();
    let running = place.start_with(settings, &stage);
    let first = Block { n: 1 }.key("a").write(&mut conn).unwrap();
    place.wait_for_statuses(&[-1]);
    Block { n: 2 }.write(&mut conn).unwrap();
    Block { n: 3 }.key("a").write(&mut conn).unwrap();
    place.wait_for_statuses(&[-1, -1, 1]);
    assert_eq!(Rows::Calls.skip(&mut conn, [first]).unwrap().rows, 1);
    place.wait_for_statuses(&[-1, -1, 2]);
    assert_eq!(Rows::Calls.retry(&mut conn, [first]).unwrap().rows, 1);
    place.wait_for_statuses(&[2, -1, 2]);
    assert_eq!(Rows::Calls.retry_all(&mut conn).unwrap(), 1);
    place.wait_for_statuses(&[2, 2, 2]);
    Block { n: 4 }.stream("bills").write(&mut conn).unwrap();
    Block { n: 5 }.write(&mut conn).unwrap();
    place.wait_for_statuses(&[2, 2, 2, 1, 2]);
    admin::resume_stream(&mut conn, "bills").unwrap();
    place.wait_for_statuses(&[2, 2, 2, 2, 2]);
    // A delayed call blocks its key until it is cancelled.
    let delayed = Block { n: 6 }.key("b").delay(Duration::from_secs(3600));
    let delayed = delayed.write(&mut conn).unwrap();
    Block { n: 7 }.key("b").write(&mut conn).unwrap();
    Block { n: 8 }.write(&mut conn).unwrap();
    place.wait_for_statuses(&[2, 2, 2, 2, 2, 1, 1, 2]);
    assert!(calls::cancel(&mut conn, delayed).unwrap());
    place.wait_for_statuses(&[2, 2, 2, 2, 2, -1, 2, 2]);
    running.stop();
}

#[derive(Debug)]
struct BusyTimeout;

impl<C: Subject> CustomizeConnection<C, diesel::r2d2::Error> for BusyTimeout {
    fn on_acquire(&self, conn: &mut C) -> Result<(), diesel::r2d2::Error> {
        if C::NAME == "SQLite" {
            conn.batch_execute("pragma busy_timeout = 20000")?;
        }
        Ok(())
    }
}

/// Without the watch and without polls.
pub(crate) fn a_commit_of_a_pool_wakes_the_executor<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let settings = sleepy(place).set("wake_up", false);
    let calls = place.functions(&stage);
    let executor = Executor::new(&settings.build().unwrap(), calls).unwrap();
    let on_commit = OnCommit::new(executor.waker()).after(BusyTimeout);
    let pool = Pool::builder()
        .max_size(2)
        .connection_customizer(Box::new(on_commit))
        .build(ConnectionManager::<C>::new(place.url()))
        .unwrap();
    let running = Running::start(executor);
    let conn: &mut C = &mut pool.get().unwrap();
    for n in 1..=10 {
        // It is idle: claims that follow the last execution are over.
        std::thread::sleep(Duration::from_millis(200));
        let starts = usize::try_from(n).unwrap();
        conn.transaction(|conn| {
            let id = Block { n }.write(conn)?;
            assert_eq!(stage.started().len(), starts - 1, "before the commit");
            Ok::<_, diesel_outbox::Error>(id)
        })
        .unwrap();
        stage.wait_for_starts(starts);
    }
    assert_eq!(running.stop().executed, 10);
}
