//! Relays for a part of the outbox, and streams that wait.

use diesel_outbox::Message;

use super::World;
use super::listener::Listener;
use super::program::{Program, wait_until};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

fn run(world: &World, path: &str, arguments: &[&str]) {
    let mut program = Program::start(world, path, arguments);
    assert!(program.ended().success(), "{:#?}", program.lines());
}

#[test]
fn a_stream_is_paused_without_stopping_processes() {
    let Some(world) = World::new() else { return };
    let listener = Listener::new(&world);
    let conn = &mut world.connect();
    let mut write = |stream: Option<&str>| {
        let mut message = Message::new(world.topic(), 1);
        if let Some(stream) = stream {
            message = message.stream(stream);
        }
        message.publish(conn).unwrap().to_string()
    };
    // One relay for two of three streams.
    let (a, b, other) = (write(Some("a")), write(Some("b")), write(None));
    run(
        &world,
        PUBLISH,
        &["--once", "--stream", "a", "--stream", "b"],
    );
    wait_until("both arrive", || listener.has(&a) && listener.has(&b));
    let summary = std::process::Command::new(PUBLISH)
        .args(["--once", "--stream", "a"])
        .env("DATABASE_URL", &world.database.url)
        .env("STOMP_URL", &world.broker)
        .output()
        .unwrap();
    let summary = String::from_utf8(summary.stdout).unwrap();
    for line in [
        "sent      0 (0/s)",
        "parked    0",
        "waiting   1",
        "oldest    ",
    ] {
        assert!(summary.contains(line), "no {line:?} in {summary}");
    }
    assert_eq!(world.counts().waiting, 1);

    let mut relay = Program::start(&world, PUBLISH, &["--poll-interval", "20ms"]);
    wait_until("the rest arrives", || listener.has(&other));
    run(&world, OUTBOX, &["pause", "--stream", "a"]);
    let (waits, goes) = (write(Some("a")), write(Some("b")));
    wait_until("the other stream's arrives", || listener.has(&goes));
    assert!(!listener.has(&waits));
    run(&world, OUTBOX, &["resume", "--stream", "a"]);
    wait_until("it continues", || listener.has(&waits));
    relay.signal("TERM");
    assert!(relay.ended().success());
}
