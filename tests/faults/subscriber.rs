//! A process that subscribes, and whose callbacks fail, panic, hang and kill it.

use std::process::{Command, Stdio};
use std::time::Duration;

use diesel_outbox::config::Config;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Outcome, Payload, Permanent, Registry, Shutdown};

use crate::clock::Clock;
use crate::program::Program;
use crate::support::network::Mode;
use crate::victim::Victim;
use crate::world::{Subject, World};

/// The database's name and the queue, for the process itself.
const CHILD: &str = "OUTBOX_TEST_CHILD";

pub(crate) fn start<C: Subject>(world: &World, clock: Clock) -> Victim {
    let child = format!("{}:{}", C::NAME, world.queue);
    let spawn = move |database: &str, broker: &str| -> Program {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "subscriber::as_a_process", "--nocapture"])
            .env(CHILD, &child)
            .env("DATABASE_URL", database)
            .env("STOMP_URL", broker)
            .envs(clock.variables())
            .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000")
            .env("OUTBOX_DEAD_LETTER_HEADERS", "x-expires:600000")
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
    let (database, queue) = child.split_once(':').unwrap();
    match database {
        "PostgreSQL" => run::<diesel::PgConnection>(queue),
        "SQLite" => run::<diesel::SqliteConnection>(queue),
        _ => run::<diesel::MysqlConnection>(queue),
    }
}

fn run<C: Subject>(queue: &str) {
    let config = Config::builder()
        .set("workers", 4)
        .set("dead_letter", "outbox")
        .set("delivery_limit", 2)
        .set("callback_first_delay", "20ms")
        .set("receipt_timeout", "2s")
        .set("connect_timeout", "3s")
        .set("database_timeout", "2s")
        .set("statement_timeout", "3s")
        .set("maximum_backoff", "1s")
        .set("heartbeat_send", "1s")
        .set("heartbeat_receive", "1s")
        .env()
        .build()
        .unwrap();
    diesel_outbox::cli::logging::init(config.log_format, "info").unwrap();
    let registry = Registry::<C>::new().on("it", callback::<C>);
    let topic = format!("/topic/{queue}");
    let subscriber = Subscriber::new(&config, &registry, "it", &topic, None).unwrap();
    let shutdown = Shutdown::on_signals().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(subscriber.run(&shutdown)).unwrap();
}

/// What happens to a message, whatever the faults are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Effect,
    /// It fails permanently.
    Letter,
    /// It kills the process that handles it.
    Deadly,
}

pub(crate) fn fate(msg_id: &str) -> Fate {
    let id: uuid::Uuid = msg_id.parse().unwrap();
    match id.as_u128() % 256 {
        0..4 => Fate::Letter,
        4 => Fate::Deadly,
        _ => Fate::Effect,
    }
}

fn callback<C: Subject>(conn: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
    let id = payload.msg_id();
    let redelivered = i32::from(payload.header("redelivered") == Some("true"));
    conn.batch_execute(&format!(
        "insert into effects (msg_id, redelivered) values ('{id}', {redelivered})"
    ))?;
    match fate(id) {
        Fate::Letter => return Err(Permanent::new("for good").into()),
        Fate::Deadly => std::process::abort(),
        Fate::Effect => {}
    }
    match rand::random_range(0..1_000) {
        0..20 => return Err("at random".into()),
        // The server quotes the text of the callback.
        20..30 => conn.quote("lost connection to server, at random")?,
        30..40 => panic!("at random"),
        40..43 => std::thread::sleep(Duration::from_millis(1_500)),
        43 => std::process::abort(),
        _ => {}
    }
    Ok(Outcome::Done)
}
