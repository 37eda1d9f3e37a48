//! Bad input: one clear error that says what to do, and the exit code for it.

use super::World;
use super::program::Program;

fn fails(world: &World, path: &str, arguments: &[&str], code: i32, expected: &[&str]) {
    let mut program = Program::start(world, path, arguments);
    assert_eq!(program.ended().code(), Some(code), "{:#?}", program.lines());
    let lines = program.lines().join("\n");
    for text in expected {
        assert!(
            lines.contains(text),
            "{arguments:?}: no {text:?} in\n{lines}"
        );
    }
    assert!(!lines.contains("hunter2"), "a secret in\n{lines}");
    assert!(!lines.contains("panicked"), "{lines}");
}

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

#[test]
fn addresses_and_logins() {
    let Some(world) = World::new() else { return };
    let place = world.broker.rsplit_once('@').unwrap().1.to_owned();
    let wrong_password = format!("stomp://guest:hunter2@{place}");
    let wrong_host = format!("{}nowhere", world.broker);
    for once in [&["--once"][..], &[]] {
        let with = |more: &[&'static str], url: &str| -> Vec<String> {
            let all = once.iter().chain(more).map(|text| (*text).to_owned());
            all.chain([url.to_owned()]).collect()
        };
        let refused = with(&["--stomp-url"], &wrong_password);
        let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
        fails(
            &world,
            PUBLISH,
            &refused,
            1,
            &["check the user and the password"],
        );
        let refused = with(&["--stomp-url"], &wrong_host);
        let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
        fails(&world, PUBLISH, &refused, 1, &["check the virtual host"]);
    }
    let away = ["--once", "--stomp-url", "stomp://u:hunter2@127.0.0.1:1/"];
    fails(
        &world,
        PUBLISH,
        &away,
        1,
        &["cannot connect to 127.0.0.1:1"],
    );
    let amqp = ["--stomp-url", "stomp+x://u:hunter2@h/"];
    fails(
        &world,
        PUBLISH,
        &amqp,
        2,
        &["--stomp-url", "must begin with stomp://"],
    );
    let oracle = ["--database-url", "oracle://u:hunter2@h/d"];
    fails(
        &world,
        PUBLISH,
        &oracle,
        2,
        &["unknown scheme `oracle`", "postgres://"],
    );
    let memory = ["--database-url", "sqlite::memory:"];
    #[cfg(feature = "sqlite")]
    fails(&world, PUBLISH, &memory, 2, &["name a file"]);
    #[cfg(not(feature = "sqlite"))]
    fails(&world, PUBLISH, &memory, 2, &["--features sqlite"]);
    let place = world.database.url.rsplit_once('@').unwrap().1.to_owned();
    let nobody = format!("postgres://nobody:hunter2@{place}");
    let nobody = ["--database-url", &nobody];
    fails(&world, PUBLISH, &nobody, 1, &["nobody"]);
}

#[test]
fn a_database_without_the_tables() {
    let Some(world) = World::new() else { return };
    let topic = world.topic();
    let mut revert = Program::start(&world, OUTBOX, &["migrate", "--revert"]);
    assert!(revert.ended().success());
    fails(&world, PUBLISH, &[], 1, &["run `outbox migrate`"]);
    fails(
        &world,
        SUBSCRIBE,
        &["log", &topic],
        1,
        &["run `outbox migrate`"],
    );
    fails(&world, OUTBOX, &["status"], 1, &["run `outbox migrate`"]);
    let mut migrate = Program::start(&world, OUTBOX, &["migrate"]);
    assert!(migrate.ended().success());
    let mut status = Program::start(&world, OUTBOX, &["status"]);
    assert!(status.ended().success());
}

#[test]
fn callbacks_and_queues() {
    let Some(world) = World::new() else { return };
    let topic = world.topic();
    let unknown = ["nothing", topic.as_str()];
    fails(
        &world,
        SUBSCRIBE,
        &unknown,
        2,
        &["`nothing`", "log, store, exec:<program>"],
    );
    let missing = ["exec:/no/such/program", topic.as_str()];
    fails(&world, SUBSCRIBE, &missing, 2, &["there is no program"]);
    fails(
        &world,
        SUBSCRIBE,
        &["log", "/topic/"],
        2,
        &["name the queue"],
    );
    fails(&world, SUBSCRIBE, &["log"], 2, &["<DESTINATION>"]);

    let mut first = Program::start(&world, SUBSCRIBE, &["log", &topic, &world.name]);
    first.wait_for_line("subscribed");
    // The same queue, declared by another client with other arguments.
    let dead_letters = format!("DLQ.{}", world.name);
    let other = ["log", "/topic/other", dead_letters.as_str()];
    fails(
        &world,
        SUBSCRIBE,
        &other,
        1,
        &["other arguments", "delete it, or use the same ones"],
    );
    first.signal("TERM");
    assert!(first.ended().success());
}
