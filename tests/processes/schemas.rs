//! Two services, each with an outbox in the same database.

use diesel::connection::SimpleConnection;
use diesel_outbox::{Message, in_schema};

use super::World;
use super::counts::Counts;
use super::listener::Listener;
use super::program::{Program, wait_until};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

#[test]
fn side_by_side() {
    // Its outbox is in `public`.
    let Some(world) = World::new() else { return };
    let mut conn = world.connect();
    conn.batch_execute("create schema tenant").unwrap();
    let run = |path, arguments: &[&str]| {
        let mut program = Program::start(&world, path, arguments);
        assert!(program.ended().success(), "{:#?}", program.lines());
    };
    run(OUTBOX, &["--database-schema", "tenant", "migrate"]);
    let listener = Listener::new(&world);
    let mut write = |schema: &str, destination: &str| {
        in_schema(schema, || {
            let message = Message::new(destination, 1);
            message.publish(&mut conn).unwrap().to_string()
        })
    };
    let topic = world.topic();
    let (ours, theirs) = (write("tenant", &topic), write("public", &topic));

    // Only the start and notifications make it poll.
    let arguments = ["--database-schema", "tenant", "--poll-interval", "1h"];
    let mut relay = Program::start(&world, PUBLISH, &arguments);
    wait_until("ours arrives", || listener.has(&ours));
    let later = write("tenant", &topic);
    wait_until("a later one arrives", || listener.has(&later));
    assert!(!listener.has(&theirs));
    relay.signal("TERM");
    assert!(relay.ended().success());
    let counts = |schema: &str| -> Counts { in_schema(schema, || world.counts()) };
    assert_eq!((counts("tenant").sent, counts("tenant").waiting), (2, 0));
    assert_eq!((counts("public").sent, counts("public").waiting), (0, 1));

    // A queue for each service; the message comes from the other one's outbox.
    let subscribe = |queue: &str, schema: &str| {
        let arguments = ["store", &topic, queue, "--database-schema", schema];
        let mut program = Program::start(&world, SUBSCRIBE, &arguments);
        program.wait_for_line("subscribed");
        program
    };
    let first = format!("{}-first", world.name);
    let second = format!("{}-second", world.name);
    let subscribers = [subscribe(&first, "tenant"), subscribe(&second, "public")];
    run(PUBLISH, &["--once"]);
    wait_until("theirs arrives", || listener.has(&theirs));
    wait_until("each remembers it", || {
        (counts("tenant").received, counts("public").received) == (1, 1)
    });
    for mut subscriber in subscribers {
        subscriber.signal("TERM");
        assert!(subscriber.ended().success());
    }
}
