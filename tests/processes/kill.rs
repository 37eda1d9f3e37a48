//! kill -9, in the middle of work.

use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::config::Config;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Outcome, Payload, Registry, Shutdown};

use super::World;
use super::listener::Listener;
use super::program::{Program, wait_until};

const ROWS: usize = 5_000;
const WINDOW: usize = 128;
const KILLS: usize = 3;

#[test]
fn a_killed_relay_loses_nothing_and_repeats_little() {
    let Some(world) = World::new() else { return };
    let listener = Listener::new(&world);
    world.write(ROWS);
    for kill in 1..=KILLS {
        let mut relay = Program::start(
            &world,
            env!("CARGO_BIN_EXE_publish"),
            &["--lease", "2s", "--receipt-timeout", "1s"],
        );
        let enough = listener.messages() + ROWS / (KILLS + 2);
        wait_until("the relay is under way", || listener.messages() >= enough);
        // The rows that it has leased are sent again when the lease has ended.
        relay.kill();
        assert!(listener.messages() < ROWS, "killed too late, at {kill}");
    }
    let mut last = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &[]);
    listener.wait_for(ROWS);
    wait_until("all is settled", || world.counts().sent == ROWS as i64);
    last.signal("TERM");
    assert!(last.ended().success());
    let duplicates = listener.duplicates();
    eprintln!("{KILLS} kills in {ROWS} rows: {duplicates} messages sent twice");
    assert!(
        duplicates <= KILLS * 2 * WINDOW,
        "{duplicates} after {KILLS} kills"
    );
}

const MESSAGES: usize = 2_000;
const CHILD: &str = "OUTBOX_TEST_CHILD";

#[test]
fn a_killed_subscriber_has_each_effect_once() {
    let Some(world) = World::new() else { return };
    world
        .connect()
        .batch_execute("create table effects (msg_id text not null)")
        .unwrap();
    let queue = format!("{}-queue", world.name);
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "kill::as_a_subscriber", "--nocapture"])
            .env(CHILD, format!("{} {queue}", world.topic()))
            .env("DATABASE_URL", &world.database.url)
            .env("STOMP_URL", &world.broker);
        Program::spawn(command.stdin(Stdio::null()))
    };
    let mut first = start();
    first.wait_for_line("subscribed");
    world.write(MESSAGES);
    let publish = |world: &World| {
        let mut relay = Program::start(world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
        assert!(relay.ended().success());
    };
    publish(&world);
    let mut subscriber = first;
    for kill in 1..=KILLS {
        let enough = effects(&world) + MESSAGES / (KILLS + 2);
        wait_until("the subscriber is under way", || effects(&world) >= enough);
        subscriber.kill();
        assert!(effects(&world) < MESSAGES, "killed too late, at {kill}");
        subscriber = start();
    }
    wait_until("all had their effect", || effects(&world) >= MESSAGES);
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
    assert_eq!(effects(&world), MESSAGES);
    assert_eq!(different_effects(&world), MESSAGES);
    assert_eq!(world.counts().received, MESSAGES as i64);
}

/// Not a test but the process that the test above kills.
#[test]
fn as_a_subscriber() {
    let Ok(arguments) = std::env::var(CHILD) else {
        return;
    };
    let (destination, queue) = arguments.split_once(' ').unwrap();
    let config = Config::builder().env().build().unwrap();
    diesel_outbox::cli::logging::init(config.log_format, "info").unwrap();
    let registry = Registry::<PgConnection>::new().on("effect", effect);
    let subscriber =
        Subscriber::new(&config, &registry, "effect", destination, Some(queue)).unwrap();
    let shutdown = Shutdown::on_signals().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(subscriber.run(&shutdown)).unwrap();
}

fn effect(conn: &mut PgConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    diesel::sql_query("insert into effects (msg_id) values ($1)")
        .bind::<diesel::sql_types::Text, _>(payload.msg_id())
        .execute(conn)?;
    Ok(Outcome::Done)
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

pub(crate) fn number(world: &World, statement: &str) -> usize {
    let found: Number = diesel::sql_query(statement)
        .get_result(&mut world.connect())
        .unwrap();
    usize::try_from(found.number).unwrap()
}

fn effects(world: &World) -> usize {
    number(world, "select count(*) as number from effects")
}

fn different_effects(world: &World) -> usize {
    number(
        world,
        "select count(distinct msg_id) as number from effects",
    )
}
