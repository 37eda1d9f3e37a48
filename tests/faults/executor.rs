//! A process that executes calls, which fail, panic, hang and kill it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use diesel_outbox::calls::{
    Call, CallInfo, CallResult, Calls, Execute, Executor, Function, NewCall, RetryPolicy, State,
    StateKey,
};
use diesel_outbox::config::Config;
use diesel_outbox::signing::{self, Keys};
use diesel_outbox::{BoxError, Error, Permanent, Shutdown};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Clock;
use crate::journal::{Pen, Step};
use crate::program::Program;
use crate::support::network::Mode;
use crate::victim::Victim;
use crate::world::{Subject, World};

/// The database's name and the journal, for the process itself.
const CHILD: &str = "OUTBOX_TEST_EXECUTOR";
/// Executions that end with their process before a call is parked.
pub(crate) const DELIVERY_LIMIT: u32 = 2;
/// Attempts of calls that always fail.
pub(crate) const ATTEMPTS: u32 = 2;
const TIMEOUT: Duration = Duration::from_millis(500);
/// Calls that are claimed at once.
const CHUNK: usize = 50;
/// An executor starts no call while twice as many run, or have succeeded and are not recorded.
const WINDOW: usize = 4;
/// The calls of an executor that are executed a second time after one fault, at most.
pub(crate) const IN_FLIGHT: usize = 2 * WINDOW;
/// Calls are signed, and verified before they are executed.
const KEYS: &str = "a:0123456789abcdef";

pub(crate) fn start<C: Subject>(world: &World, journal: &Path, clock: Clock) -> Victim {
    let child = format!("{}:{}", C::NAME, journal.display());
    let spawn = move |database: &str, _: &str| -> Program {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "executor::as_a_process", "--nocapture"])
            .env(CHILD, &child)
            .env("DATABASE_URL", database)
            .envs(clock.variables())
            .stdin(Stdio::null());
        Program::spawn(&mut command)
    };
    Victim::start::<C>(world, Mode::Well, Box::new(spawn))
}

/// Not a test but the process.
#[test]
fn as_a_process() {
    let Ok(child) = std::env::var(CHILD) else {
        return;
    };
    let (database, journal) = child.split_once(':').unwrap();
    let pen = Pen::open(Path::new(journal));
    match database {
        "PostgreSQL" => run::<diesel::PgConnection>(pen),
        "SQLite" => run::<diesel::SqliteConnection>(pen),
        _ => run::<diesel::MysqlConnection>(pen),
    }
}

fn run<C: Subject>(pen: Pen) {
    let config = Config::builder()
        .set("call_workers", 3)
        .set("call_lease", "2s")
        .set("chunk_size", CHUNK)
        .set("window", WINDOW)
        .set("signing_keys", KEYS)
        .set("verify_signatures", "require")
        .set("delivery_limit", DELIVERY_LIMIT)
        .set("database_timeout", "1s")
        .set("statement_timeout", "2s")
        .set("maximum_backoff", "1s")
        .set("poll_interval", "100ms")
        .set("shutdown_timeout", "10s")
        .set("retry_attempts", 1_000)
        .set("retry_first_delay", "50ms")
        .set("retry_maximum_delay", "500ms")
        .set("when_exhausted", "park")
        .env()
        .build()
        .unwrap();
    diesel_outbox::cli::logging::init(config.log_format, "info").unwrap();
    let calls = Calls::<C>::new()
        .add::<Within>()
        .add::<Block>()
        .add::<Await>()
        .add::<Doomed>()
        .state(Arc::new(pen));
    let executor = Executor::new(&config, calls).unwrap();
    let shutdown = Shutdown::on_signals().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(executor.run(&shutdown)).unwrap();
}

/// What happens to a call, whatever the faults are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It succeeds sooner or later.
    Effect,
    /// It fails permanently.
    Permanent,
    /// It fails at each attempt.
    Exhausted,
    /// It never returns.
    Hangs,
    /// It kills the process that executes it.
    Deadly,
    /// Its arguments cannot be decoded.
    Undecodable,
    /// No executor knows its name.
    Unknown,
}

/// The kind of the function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Transactional,
    Blocking,
    Async,
}

/// The id of a call decides everything about it.
pub(crate) fn fate(id: Uuid) -> Fate {
    match id.as_u128() % 1_000 {
        0..5 => Fate::Permanent,
        5..10 => Fate::Exhausted,
        10..15 => Fate::Hangs,
        15..20 => Fate::Undecodable,
        20..25 => Fate::Unknown,
        25..30 => Fate::Deadly,
        _ => Fate::Effect,
    }
}

pub(crate) fn kind(id: Uuid) -> Kind {
    match (fate(id), id.as_u128() / 1_000 % 4) {
        (Fate::Exhausted | Fate::Hangs, _) | (_, 0) => Kind::Async,
        (_, 1) => Kind::Blocking,
        _ => Kind::Transactional,
    }
}

/// Writes the call with this id.
pub(crate) fn write<C: Subject>(conn: &mut C, id: Uuid, key: Option<String>) -> Result<(), Error> {
    match (fate(id), kind(id)) {
        (Fate::Undecodable, _) => write_as(conn, Garbage { id: () }, id, key),
        // An unknown call with a key would block the key.
        (Fate::Unknown, _) => write_as(conn, Unknown {}, id, None),
        (Fate::Exhausted | Fate::Hangs, _) => write_as(conn, Doomed { id }, id, key),
        // Of an earlier version of the program.
        (_, Kind::Transactional) if (id.as_u128() / 4_000).is_multiple_of(4) => {
            write_as(conn, Former { id }, id, key)
        }
        (_, Kind::Transactional) => write_as(conn, Within { id }, id, key),
        (_, Kind::Blocking) => write_as(conn, Block { id }, id, key),
        (_, Kind::Async) => write_as(conn, Await { id }, id, key),
    }
}

fn write_as<C: Subject>(
    conn: &mut C,
    call: impl Call,
    id: Uuid,
    key: Option<String>,
) -> Result<(), Error> {
    let call = NewCall::new(call).id(id);
    let keys = Keys::parse(KEYS).unwrap();
    signing::with_keys(&keys, || match key {
        Some(key) => call.key(key).write(conn),
        None => call.write(conn),
    })?;
    Ok(())
}

macro_rules! call {
    ($call:ident, $name:literal $(, $constant:ident: $type:ty = $value:expr)*) => {
        #[derive(Serialize, Deserialize)]
        struct $call {
            id: Uuid,
        }

        impl Call for $call {
            const NAME: &'static str = $name;
            const TIMEOUT: Option<Duration> = Some(TIMEOUT);
            $(const $constant: $type = $value;)*
        }
    };
}

call!(Within, "faults.within", ALIASES: &'static [&'static str] = &[Former::NAME]);
call!(Former, "faults.former");
call!(Block, "faults.block");
call!(Await, "faults.await");
call!(Doomed, "faults.doomed", RETRY: RetryPolicy = RetryPolicy::new().attempts(ATTEMPTS));

/// A call of `Block` that has its arguments wrong.
#[derive(Serialize, Deserialize)]
struct Garbage {
    id: (),
}

impl Call for Garbage {
    const NAME: &'static str = Block::NAME;
}

#[derive(Serialize, Deserialize)]
struct Unknown {}

impl Call for Unknown {
    const NAME: &'static str = "faults.unknown";
}

impl<C: Subject> Execute<C> for Within {
    const FUNCTION: Function<Self, C> = Function::Transactional(|call, conn, context| {
        let pen: State<Pen> = context.state()?;
        begin(&pen, call.id, context.info());
        conn.batch_execute(&format!(
            "insert into effects (msg_id) values ('{}')",
            call.id
        ))?;
        match mishap(call.id) {
            // The server quotes the text of the function.
            Mishap::Quote => {
                pen.write(Step::Failed, call.id);
                conn.quote("lost connection to server, at random")?;
            }
            mishap => on_this_thread(mishap, &pen, call.id)?,
        }
        pen.write(Step::Done, call.id);
        Ok(())
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Pen>()];
}

impl<C> Execute<C> for Block {
    const FUNCTION: Function<Self, C> = Function::Blocking(|call, context| {
        let pen: State<Pen> = context.state()?;
        begin(&pen, call.id, context.info());
        std::thread::sleep(Duration::from_millis(1));
        on_this_thread(mishap(call.id), &pen, call.id)?;
        pen.write(Step::Done, call.id);
        Ok(())
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Pen>()];
}

impl<C> Execute<C> for Await {
    const FUNCTION: Function<Self, C> = Function::Async(|call, context| {
        Box::pin(async move {
            let pen: State<Pen> = context.state()?;
            begin(&pen, call.id, context.info());
            tokio::time::sleep(Duration::from_millis(1)).await;
            match mishap(call.id) {
                Mishap::Slow => hang(&pen, call.id).await,
                mishap => on_this_thread(mishap, &pen, call.id)?,
            }
            pen.write(Step::Done, call.id);
            Ok(())
        })
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Pen>()];
}

impl<C> Execute<C> for Doomed {
    const FUNCTION: Function<Self, C> = Function::Async(|call, context| {
        Box::pin(async move {
            let pen: State<Pen> = context.state()?;
            begin(&pen, call.id, context.info());
            if fate(call.id) == Fate::Hangs {
                hang(&pen, call.id).await;
            }
            pen.write(Step::Failed, call.id);
            Err(BoxError::from("every time"))
        })
    });
    const STATES: &'static [StateKey] = &[StateKey::of::<Pen>()];
}

fn begin(pen: &Pen, id: Uuid, info: &CallInfo) {
    assert_eq!(info.id, id);
    pen.write(Step::Start, id);
}

/// It is dropped at its time limit: a failed attempt.
async fn hang(pen: &Pen, id: Uuid) {
    pen.write(Step::Failed, id);
    tokio::time::sleep(TIMEOUT * 100).await;
}

enum Mishap {
    None,
    Permanent,
    Fail,
    Quote,
    Panic,
    /// Longer than the time limit.
    Slow,
    Abort,
}

fn mishap(id: Uuid) -> Mishap {
    match fate(id) {
        Fate::Permanent => return Mishap::Permanent,
        Fate::Deadly => return Mishap::Abort,
        _ => {}
    }
    match rand::random_range(0..1_000) {
        0..20 => Mishap::Fail,
        20..30 if kind(id) == Kind::Transactional => Mishap::Quote,
        30..40 => Mishap::Panic,
        40..43 => Mishap::Slow,
        43 => Mishap::Abort,
        _ => Mishap::None,
    }
}

fn on_this_thread(mishap: Mishap, pen: &Pen, id: Uuid) -> CallResult {
    match mishap {
        Mishap::None | Mishap::Quote => {}
        Mishap::Permanent => {
            pen.write(Step::Failed, id);
            return Err(Permanent::new("for good").into());
        }
        Mishap::Fail => {
            pen.write(Step::Failed, id);
            return Err("at random".into());
        }
        Mishap::Panic => {
            pen.write(Step::Failed, id);
            panic!("at random");
        }
        Mishap::Slow => std::thread::sleep(TIMEOUT * 2),
        Mishap::Abort => std::process::abort(),
    }
    Ok(())
}
