//! Which statements of a real connection wake a relay, on each database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel::result::Error::RollbackTransaction;
use futures_util::FutureExt;
use outbox_test_support as support;
use uuid::Uuid;

use crate::backend::Backend;
use crate::migrations::Migrate;
use crate::{Error, Message, admin};

use super::{OnCommit, OnCommitError, Waker};

/// Diesel's default instrumentation belongs to the process: only one test writes it.
static DEFAULT: RwLock<()> = RwLock::new(());

trait Subject: Backend + Migrate {}
impl<C: Backend + Migrate> Subject for C {}

fn connect<C: Subject>(database: &support::TestDatabase) -> C {
    let mut conn = C::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    conn
}

fn installed<C: Subject>(database: &support::TestDatabase) -> (C, Waker) {
    let (mut conn, waker) = (connect::<C>(database), Waker::default());
    OnCommit::install(&mut conn, waker.clone()).unwrap();
    (conn, waker)
}

fn write<C: Subject>(conn: &mut C) -> Result<(), Error> {
    Message::new("/queue/a", 1).publish(conn).map(drop)
}

/// Whether the relay was woken since the last call.
fn is_woken(waker: &Waker) -> bool {
    waker.woken().now_or_never().is_some()
}

/// An instrumentation that counts the events it receives.
fn counting(count: &Arc<AtomicUsize>) -> impl Instrumentation + use<> {
    let count = Arc::clone(count);
    move |_: InstrumentationEvent<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn a_commit_wakes_and_a_rollback_does_not<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = installed::<C>(database);
    conn.transaction(|conn| {
        write(conn)?;
        write(conn)?;
        assert!(!is_woken(&waker), "before the commit");
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(is_woken(&waker));
    assert!(!is_woken(&waker), "wake-ups are merged");
    let rolled_back = conn.transaction(|conn| {
        write(conn)?;
        Err::<(), Error>(RollbackTransaction.into())
    });
    rolled_back.unwrap_err();
    assert!(!is_woken(&waker));
    // The next commit has no row of the transaction that was rolled back.
    conn.transaction(|conn| conn.batch_execute("select 1"))
        .unwrap();
    conn.batch_execute("select 1").unwrap();
    assert!(!is_woken(&waker));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        conn.transaction(|conn| {
            write(conn)?;
            panic!("on purpose");
            #[allow(unreachable_code)]
            Ok::<_, Error>(())
        })
    }));
    caught.unwrap_err();
    assert!(!is_woken(&waker));
}

fn a_savepoint_commits_nothing<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = installed::<C>(database);
    conn.transaction(|conn| {
        conn.transaction(|conn| conn.transaction(write))?;
        assert!(!is_woken(&waker), "a release is not a commit");
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(is_woken(&waker));
    let undo = |conn: &mut C| {
        let undone = conn.transaction(|conn| {
            conn.transaction(write)?;
            Err::<(), Error>(RollbackTransaction.into())
        });
        undone.unwrap_err();
        Ok::<_, Error>(())
    };
    conn.transaction(undo).unwrap();
    assert!(!is_woken(&waker), "nothing was committed");
    conn.transaction(|conn| {
        write(conn)?;
        undo(conn)
    })
    .unwrap();
    assert!(is_woken(&waker), "the first row was committed");
    conn.begin_test_transaction().unwrap();
    conn.transaction(write).unwrap();
    assert!(!is_woken(&waker), "a test transaction never commits");
}

fn without_a_transaction_each_write_wakes<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = installed::<C>(database);
    write(&mut conn).unwrap();
    assert!(is_woken(&waker));
    let id = Uuid::now_v7();
    let message = || Message::new("/queue/a", 1).id(id);
    message().publish(&mut conn).unwrap();
    assert!(is_woken(&waker));
    // In a transaction the refused one is not a failure.
    conn.transaction(|conn| message().publish_if_new(conn))
        .unwrap();
    is_woken(&waker);
    conn.batch_execute("delete from published").unwrap();
    assert!(!is_woken(&waker), "not a write of rows");
    let failed = Message::new("", 1).publish(&mut conn);
    failed.unwrap_err();
    conn.batch_execute("drop table published").unwrap();
    write(&mut conn).unwrap_err();
    assert!(!is_woken(&waker));
}

fn changes_that_let_rows_be_claimed_wake<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = installed::<C>(database);
    let message = Message::new("/queue/a", 1).stream("mail");
    let id = message.publish(&mut conn).unwrap();
    is_woken(&waker);
    conn.transaction(|conn| {
        assert!(crate::cancel(conn, id)?, "its key may continue");
        assert!(!is_woken(&waker), "before the commit");
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(is_woken(&waker));
    assert_eq!(admin::retry(&mut conn, [id]).unwrap().rows, 1);
    assert!(is_woken(&waker));
    admin::pause_stream(&mut conn, "mail").unwrap();
    assert!(!is_woken(&waker), "nothing can be claimed by that");
    admin::resume_stream(&mut conn, "mail").unwrap();
    assert!(is_woken(&waker));
    admin::cancel(&mut conn, [id]).unwrap();
    is_woken(&waker);
    let parked = admin::Filter::new().stream("mail");
    let parked = admin::matching(&mut conn, admin::Action::Retry, &parked).unwrap();
    assert!(!is_woken(&waker), "it was only counted");
    assert_eq!(parked.apply(&mut conn, |_| {}).unwrap(), 1);
    assert!(is_woken(&waker));
    admin::cancel(&mut conn, [id]).unwrap();
    is_woken(&waker);
    assert_eq!(admin::retry_all(&mut conn).unwrap(), 1);
    assert!(is_woken(&waker));
}

fn several_relays_are_woken<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, first) = installed::<C>(database);
    let second = Waker::default();
    for waker in [&second, &first, &second] {
        OnCommit::install(&mut conn, waker.clone()).unwrap();
    }
    conn.transaction(write).unwrap();
    assert!(is_woken(&first) && is_woken(&second));
    // A relay that has ended harms nothing.
    drop(first);
    conn.transaction(write).unwrap();
    assert!(is_woken(&second));
}

fn an_instrumentation_of_ones_own_is_kept<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = (connect::<C>(database), Waker::default());
    let counted = Arc::new(AtomicUsize::new(0));
    conn.set_instrumentation(counting(&counted));
    let refused = OnCommit::install(&mut conn, waker.clone());
    assert!(matches!(refused, Err(OnCommitError::OwnInstrumentation)));
    conn.transaction(write).unwrap();
    let alone = counted.swap(0, Ordering::Relaxed);
    assert!(alone > 0 && !is_woken(&waker));

    OnCommit::install_with(&mut conn, waker.clone(), counting(&counted));
    conn.transaction(write).unwrap();
    assert!(is_woken(&waker));
    // It receives what it receives without us; a statement that is prepared by now has one event less.
    let both = counted.load(Ordering::Relaxed);
    assert!((alone - 1..=alone).contains(&both), "{both} of {alone}");

    // It stays when another relay is added, and may be replaced.
    OnCommit::install(&mut conn, Waker::default()).unwrap();
    conn.batch_execute("select 1").unwrap();
    assert_eq!(counted.load(Ordering::Relaxed), both + 2);
    let other = Arc::new(AtomicUsize::new(0));
    OnCommit::install_with(&mut conn, waker.clone(), counting(&other));
    conn.transaction(write).unwrap();
    assert_eq!(counted.load(Ordering::Relaxed), both + 2);
    assert!(other.load(Ordering::Relaxed) > 0 && is_woken(&waker));
}

/// A type without size looks like none at all.
fn a_function_as_instrumentation_is_kept<C: Subject>(database: &support::TestDatabase) {
    fn nothing(_: InstrumentationEvent<'_>) {}
    let mut conn = connect::<C>(database);
    conn.set_instrumentation(nothing);
    let refused = OnCommit::install(&mut conn, Waker::default());
    assert!(matches!(refused, Err(OnCommitError::OwnInstrumentation)));
}

fn an_instrumentation_that_panics_stops_no_wake_up<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = (connect::<C>(database), Waker::default());
    let panics = |event: InstrumentationEvent<'_>| {
        let is_insert = matches!(&event, InstrumentationEvent::FinishQuery { query, .. }
            if query.to_string().to_lowercase().starts_with("insert"));
        assert!(!is_insert, "on purpose");
    };
    OnCommit::install_with(&mut conn, waker.clone(), panics);
    catch_unwind(AssertUnwindSafe(|| write(&mut conn))).unwrap_err();
    assert!(is_woken(&waker), "the row is committed");
    // The mark of the write that has panicked is gone.
    conn.batch_execute("select 1").unwrap();
    assert!(!is_woken(&waker));
}

#[derive(Debug)]
struct First(Arc<AtomicUsize>);

impl<C: Subject, E: 'static> CustomizeConnection<C, E> for First {
    fn on_acquire(&self, _: &mut C) -> Result<(), E> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn each_connection_of_a_pool_wakes<C: Subject>(database: &support::TestDatabase) {
    connect::<C>(database);
    let (first, second) = (Waker::default(), Waker::default());
    let customized = Arc::new(AtomicUsize::new(0));
    let on_commit = OnCommit::new(first.clone())
        .and(second.clone())
        .after(First(Arc::clone(&customized)));
    let pool = Pool::builder()
        .max_size(3)
        .connection_customizer(Box::new(on_commit))
        .build(ConnectionManager::<C>::new(&database.url))
        .unwrap();
    let mut held: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    for conn in &mut held {
        use diesel::Connection;
        conn.transaction(|conn| Message::new("/queue/a", 1).publish(conn))
            .unwrap();
        assert!(is_woken(&first) && is_woken(&second));
    }
    assert_eq!(customized.load(Ordering::Relaxed), 3);
    // Also through the pool's own connection type.
    OnCommit::install(&mut held[0], Waker::default()).unwrap();
}

#[derive(Debug)]
struct SetsItsOwn;

impl<C: Subject, E: 'static> CustomizeConnection<C, E> for SetsItsOwn {
    fn on_acquire(&self, conn: &mut C) -> Result<(), E> {
        conn.set_instrumentation(|_: InstrumentationEvent<'_>| ());
        Ok(())
    }
}

fn a_pool_with_its_own_instrumentation_works<C: Subject>(database: &support::TestDatabase) {
    connect::<C>(database);
    let (waker, log) = (Waker::default(), support::log::Log::default());
    let _collecting = log.collect(tracing::Level::WARN);
    let on_commit = OnCommit::new(waker.clone())
        .and(Waker::default())
        .after(SetsItsOwn);
    let customizer: &dyn CustomizeConnection<C, diesel::r2d2::Error> = &on_commit;
    for _ in 0..2 {
        let mut conn = connect::<C>(database);
        customizer.on_acquire(&mut conn).unwrap();
        write(&mut conn).unwrap();
        assert!(!is_woken(&waker));
    }
    assert_eq!(log.text().matches("do not wake the relay").count(), 1);
}

/// PostgreSQL reports a refused COMMIT without a rollback; on SQLite the transaction stays open, and Diesel rolls
/// it back.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn a_refused_commit_wakes_nobody<C: Subject>(database: &support::TestDatabase) {
    let (mut conn, waker) = installed::<C>(database);
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma foreign_keys = on").unwrap();
    }
    conn.batch_execute(
        "create table parents (id integer primary key);
        create table children (id integer references parents (id) deferrable initially deferred)",
    )
    .unwrap();
    let refused = conn.transaction(|conn| {
        write(conn)?;
        conn.batch_execute("insert into children values (1)")?;
        Ok::<_, Error>(())
    });
    refused.unwrap_err();
    assert!(!is_woken(&waker));
    conn.transaction(|conn| conn.batch_execute("select 1"))
        .unwrap();
    assert!(!is_woken(&waker));
    conn.transaction(write).unwrap();
    assert!(is_woken(&waker));
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        macro_rules! on_database {
            ($module:ident: $connection:ty) => {
                mod $module {
                    $(#[test]
                    fn $case() {
                        let _lock = super::DEFAULT.read();
                        let database = super::databases::$module();
                        let Some(database) = database else { return };
                        super::$case::<$connection>(&database);
                    })*
                }
            };
        }
        crate::backend::databases!(on_database);
    };
}

cases!(
    a_commit_wakes_and_a_rollback_does_not,
    a_savepoint_commits_nothing,
    without_a_transaction_each_write_wakes,
    changes_that_let_rows_be_claimed_wake,
    several_relays_are_woken,
    an_instrumentation_of_ones_own_is_kept,
    a_function_as_instrumentation_is_kept,
    an_instrumentation_that_panics_stops_no_wake_up,
    each_connection_of_a_pool_wakes,
    a_pool_with_its_own_instrumentation_works,
);

mod databases {
    use super::support::{self, TestDatabase};

    #[cfg(feature = "postgres")]
    pub(super) fn postgres() -> Option<TestDatabase> {
        support::postgres::<diesel::PgConnection>()
    }

    #[cfg(feature = "mysql")]
    pub(super) fn mysql() -> Option<TestDatabase> {
        support::mysql::<diesel::MysqlConnection>()
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite() -> Option<TestDatabase> {
        Some(support::sqlite::<diesel::SqliteConnection>())
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgresql_refuses_a_commit() {
    let _lock = DEFAULT.read();
    if let Some(database) = databases::postgres() {
        a_refused_commit_wakes_nobody::<diesel::PgConnection>(&database);
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_refuses_a_commit() {
    let _lock = DEFAULT.read();
    if let Some(database) = databases::sqlite() {
        a_refused_commit_wakes_nobody::<diesel::SqliteConnection>(&database);
    }
}

/// The number of events of the default instrumentation.
static EVENTS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_default_instrumentation_is_kept() {
    use diesel::connection::set_default_instrumentation;

    fn default() -> Option<Box<dyn Instrumentation>> {
        Some(Box::new(|_: InstrumentationEvent<'_>| {
            EVENTS.fetch_add(1, Ordering::Relaxed);
        }))
    }

    fn keeps_it<C: Subject>(database: &support::TestDatabase) {
        let (mut conn, waker) = installed::<C>(database);
        let before = EVENTS.load(Ordering::Relaxed);
        conn.transaction(write).unwrap();
        assert!(EVENTS.load(Ordering::Relaxed) > before);
        assert!(is_woken(&waker));
    }

    macro_rules! keeps_it {
        ($module:ident: $connection:ty) => {
            if let Some(database) = databases::$module() {
                keeps_it::<$connection>(&database);
            }
        };
    }

    let _lock = DEFAULT.write();
    set_default_instrumentation(default).unwrap();
    let kept = catch_unwind(|| {
        crate::backend::databases!(keeps_it);
    });
    set_default_instrumentation(|| None).unwrap();
    kept.unwrap();
}
