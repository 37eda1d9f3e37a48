//! A database with the tables, functions to execute, and an executor in a thread.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_outbox::backend::Backend;
use diesel_outbox::calls::{
    Call, CallInfo, CallResult, Calls, Execute, Executor, ExecutorStats, Function, Persist,
    RetryPolicy, State, StateKey, WhenExhausted,
};
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::{BoxError, Shutdown};
use serde::{Deserialize, Serialize};

use crate::support::{self, TestDatabase};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that the suite runs on.
pub(crate) trait Subject: Backend + Migrate {
    fn run(&mut self, statement: &str) -> QueryResult<usize>;
    fn number(&mut self, query: &str) -> i64;
    fn rows(&mut self) -> Vec<Stored>;
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Stored {
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = Integer)]
    pub(crate) status: i32,
    #[diesel(sql_type = Integer)]
    pub(crate) retry: i32,
    #[diesel(sql_type = Integer)]
    pub(crate) crashes: i32,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) last_error: Option<String>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

macro_rules! subject {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn run(&mut self, statement: &str) -> QueryResult<usize> {
                diesel::sql_query(statement).execute(self)
            }

            fn number(&mut self, query: &str) -> i64 {
                let numbers: Vec<Number> = diesel::sql_query(query).load(self).unwrap();
                numbers[0].n
            }

            fn rows(&mut self) -> Vec<Stored> {
                let query = "select name, status, retry, crashes, last_error from outbox_calls order by seq";
                diesel::sql_query(query).load(self).unwrap()
            }
        }
    };
}

subject!("mysql", diesel::MysqlConnection);
subject!("postgres", diesel::PgConnection);
subject!("sqlite", diesel::SqliteConnection);

#[cfg(feature = "sqlite")]
pub(crate) fn sqlite() -> Option<TestDatabase> {
    Some(support::sqlite::<SqliteConnection>())
}

#[cfg(feature = "mysql")]
pub(crate) fn mysql() -> Option<TestDatabase> {
    support::mysql::<MysqlConnection>()
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> Option<TestDatabase> {
    support::postgres::<PgConnection>()
}

/// What the functions of a test do, and what they did.
#[derive(Default)]
pub(crate) struct Script {
    state: Mutex<Told>,
    changed: Condvar,
}

/// What a function does: with its number and how often it ran before.
type Act = Box<dyn FnMut(i64, usize) -> CallResult + Send>;

#[derive(Default)]
pub(crate) struct Told {
    /// The numbers of the calls, in the order of their starts.
    pub(crate) started: Vec<i64>,
    pub(crate) ended: Vec<i64>,
    pub(crate) correlation: Vec<Option<String>>,
    /// What each execution learned about itself.
    pub(crate) infos: Vec<CallInfo>,
    /// The time that was left to each function on a thread when it started.
    pub(crate) time_left: Vec<Option<Duration>>,
    runs: HashMap<i64, usize>,
}

/// The behaviour of functions, and the record of their runs.
#[derive(Clone)]
pub(crate) struct Stage {
    script: Arc<Script>,
    act: Arc<Mutex<Option<Act>>>,
}

impl Stage {
    /// Every function returns Ok.
    pub(crate) fn quiet() -> Self {
        Self {
            script: Arc::default(),
            act: Arc::default(),
        }
    }

    pub(crate) fn new(act: impl FnMut(i64, usize) -> CallResult + Send + 'static) -> Self {
        Self {
            script: Arc::default(),
            act: Arc::new(Mutex::new(Some(Box::new(act)))),
        }
    }

    fn begin(&self, n: i64, info: &CallInfo) -> usize {
        let mut told = self.told();
        told.started.push(n);
        told.infos.push(info.clone());
        told.correlation.push(diesel_outbox::correlation::current());
        let runs = told.runs.entry(n).or_default();
        *runs += 1;
        let before = *runs - 1;
        self.script.changed.notify_all();
        before
    }

    fn end(&self, n: i64) {
        self.told().ended.push(n);
        self.script.changed.notify_all();
    }

    fn act(&self, n: i64, before: usize) -> CallResult {
        let mut act = self
            .act
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        act.as_mut().map_or(Ok(()), |act| act(n, before))
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.script.state.lock().unwrap()
    }

    pub(crate) fn started(&self) -> Vec<i64> {
        self.told().started.clone()
    }

    /// Waits until so many executions have started.
    pub(crate) fn wait_for_starts(&self, count: usize) {
        let told = self.told();
        let (told, waited) = self
            .script
            .changed
            .wait_timeout_while(told, PATIENCE, |told| told.started.len() < count)
            .unwrap();
        assert!(!waited.timed_out(), "{:?}", told.started);
    }
}

macro_rules! call {
    ($call:ident, $name:literal $(, $constant:ident: $type:ty = $value:expr)*) => {
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $call {
            pub(crate) n: i64,
        }

        impl Call for $call {
            const NAME: &'static str = $name;
            $(const $constant: $type = $value;)*
        }
    };
}

call!(Block, "test.block");
call!(InOrder, "test.in_order", STREAM: Option<&'static str> = Some("bills"), ORDERED: bool = true);
call!(Slow, "test.slow", TIMEOUT: Option<Duration> = Some(Duration::from_millis(50)));
call!(Await, "test.await");
call!(Hang, "test.hang", TIMEOUT: Option<Duration> = Some(Duration::from_millis(50)),
    RETRY: RetryPolicy = RetryPolicy::new().attempts(2));
call!(Within, "test.within");
call!(Renamed, "test.renamed", ALIASES: &'static [&'static str] = &["test.former"]);
call!(Former, "test.former");
call!(OnFailure, "test.on_failure", PERSIST: Persist = Persist::Failures);
call!(Twice, "test.twice", RETRY: RetryPolicy = RetryPolicy::new().attempts(2));

macro_rules! blocking {
    ($($call:ident),*) => {
        $(impl<C> Execute<C> for $call {
            const FUNCTION: Function<Self, C> = Function::Blocking(|call, context| {
                let stage: State<Stage> = context.state()?;
                let before = stage.begin(call.n, context.info());
                let deadline = context.info().deadline;
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                stage.told().time_left.push(left);
                let result = stage.act(call.n, before);
                stage.end(call.n);
                result
            });
            const STATES: &'static [StateKey] = &[StateKey::of::<Stage>()];
        })*
    };
}

call!(Patient, "test.patient", RETRY: RetryPolicy = RetryPolicy::new().attempts(2)
    .first_delay(Duration::from_secs(600)).jitter(0.0));
call!(Yielding, "test.yielding", RETRY: RetryPolicy = RetryPolicy::new().attempts(1)
    .when_exhausted(WhenExhausted::Park));

blocking!(Block, Slow, Renamed, OnFailure, Twice, Patient, Yielding);

impl<C> Execute<C> for Await {
    const FUNCTION: Function<Self, C> = Function::Async(|call, context| {
        Box::pin(async move {
            let stage: State<Stage> = context.state()?;
            let before = stage.begin(call.n, context.info());
            tokio::time::sleep(Duration::from_millis(5)).await;
            let result = stage.act(call.n, before);
            stage.end(call.n);
            result
        })
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Stage>()];
}

impl<C> Execute<C> for Hang {
    const FUNCTION: Function<Self, C> = Function::Async(|call, context| {
        Box::pin(async move {
            let stage: State<Stage> = context.state()?;
            stage.begin(call.n, context.info());
            tokio::time::sleep(PATIENCE * 2).await;
            Ok(())
        })
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Stage>()];
}

// Not in the registry of all functions.
blocking!(InOrder);

/// Writes its number to the table `effects`, before it does what the stage says.
impl<C: Subject> Execute<C> for Within {
    const FUNCTION: Function<Self, C> = Function::Transactional(|call, conn, context| {
        let stage: State<Stage> = context.state()?;
        conn.run(&format!("insert into effects (n) values ({})", call.n))?;
        let before = stage.begin(call.n, context.info());
        let result = match stage.act(call.n, before) {
            Err(error) if error.to_string() == "rollback" => {
                conn.batch_execute("rollback")?;
                Ok(())
            }
            other => other,
        };
        stage.end(call.n);
        result
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Stage>()];
}

pub(crate) fn failure(text: &str) -> CallResult {
    Err(BoxError::from(text.to_owned()))
}

/// A registry with all functions of the tests.
pub(crate) fn functions<C: Subject>(stage: &Stage) -> Calls<C> {
    Calls::new()
        .add::<Block>()
        .add::<Slow>()
        .add::<Await>()
        .add::<Hang>()
        .add::<Within>()
        .add::<Renamed>()
        .add::<OnFailure>()
        .add::<Twice>()
        .add::<Patient>()
        .add::<Yielding>()
        .state(Arc::new(stage.clone()))
}

/// A database with the tables.
pub(crate) struct Place<C> {
    database: TestDatabase,
    connection: PhantomData<fn() -> C>,
}

impl<C: Subject> Place<C> {
    pub(crate) fn new(database: TestDatabase) -> Self {
        let place = Self {
            database,
            connection: PhantomData,
        };
        let mut conn = place.connect();
        conn.migrate().unwrap();
        conn.run("create table effects (n bigint not null)")
            .unwrap();
        place
    }

    pub(crate) fn url(&self) -> &str {
        &self.database.url
    }

    pub(crate) fn connect(&self) -> C {
        let mut conn = C::establish(&self.database.url).unwrap();
        if C::NAME == "SQLite" {
            conn.batch_execute("pragma busy_timeout = 20000; pragma synchronous = off")
                .unwrap();
        }
        conn
    }

    pub(crate) fn settings(&self) -> Builder {
        Config::builder()
            .set("database_url", self.database.url.clone())
            .set("poll_interval", "20ms")
            .set("call_workers", 4)
            .set("retry_first_delay", "10ms")
            .set("retry_maximum_delay", "50ms")
            .set("maximum_backoff", "1s")
    }

    /// A registry with all functions of the tests.
    pub(crate) fn functions(&self, stage: &Stage) -> Calls<C> {
        functions(stage)
    }

    pub(crate) fn start(&self, stage: &Stage) -> Running {
        self.start_with(self.settings(), stage)
    }

    pub(crate) fn start_with(&self, settings: Builder, stage: &Stage) -> Running {
        let calls = self.functions(stage);
        Running::start(Executor::new(&settings.build().unwrap(), calls).unwrap())
    }

    /// Executes what is due.
    pub(crate) fn once(&self, stage: &Stage) -> ExecutorStats {
        self.once_with(self.settings(), stage)
    }

    pub(crate) fn once_with(&self, settings: Builder, stage: &Stage) -> ExecutorStats {
        let calls = self.functions(stage);
        let executor = Executor::new(&settings.build().unwrap(), calls).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime
            .block_on(executor.run_once(&Shutdown::new()))
            .unwrap()
    }

    pub(crate) fn statuses(&self) -> Vec<i32> {
        let rows = self.connect().rows();
        rows.iter().map(|row| row.status).collect()
    }

    pub(crate) fn wait_for_statuses(&self, expected: &[i32]) {
        let mut conn = self.connect();
        wait_until(|| {
            let rows = conn.rows();
            let statuses: Vec<i32> = rows.iter().map(|row| row.status).collect();
            (statuses == expected).then_some(()).ok_or(rows)
        });
    }

    pub(crate) fn effects(&self) -> i64 {
        self.connect().number("select count(*) as n from effects")
    }
}

/// Waits for Ok; the error is shown if it does not come in time.
pub(crate) fn wait_until<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(state) => assert!(began.elapsed() < PATIENCE, "not in time: {state:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An executor that runs in a thread until it is stopped or dropped.
pub(crate) struct Running {
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<ExecutorStats>>,
}

impl Running {
    pub(crate) fn start<C: Backend>(executor: Executor<C>) -> Self {
        let shutdown = Shutdown::new();
        let until = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let stats = runtime.block_on(executor.run(&until)).unwrap();
            runtime.shutdown_background();
            stats
        });
        Self {
            shutdown,
            thread: Some(thread),
        }
    }

    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.stop();
    }

    pub(crate) fn stop(mut self) -> ExecutorStats {
        self.shutdown.stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}
