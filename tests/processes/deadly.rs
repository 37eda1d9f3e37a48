//! A message that kills whoever handles it.

use diesel_outbox::stomp::{Client, Delivery, Options, Subscribe};

use super::World;
use super::program::{Program, wait_until};
use super::signals::executable;

const ROWS: usize = 40;
const LIMIT: u32 = 3;

#[test]
fn a_message_that_kills_the_process_ends_at_the_dead_letters() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "read -r body\necho \"got $body\"\ncase \"$body\" in *' 5}') kill -9 $PPID;; esac\nsleep 0.1";
    let callback = executable(&folder.path().join("handle"), script);
    let (topic, limit) = (world.topic(), LIMIT.to_string());
    let start = || {
        let arguments = [
            &callback,
            &topic,
            "--workers",
            "4",
            "--delivery-limit",
            &limit,
        ];
        let more = ["--dead-letter", "outbox", "--callback-attempts", "1"];
        let subscribe = env!("CARGO_BIN_EXE_subscribe");
        let mut subscriber = Program::start(&world, subscribe, &[&arguments[..], &more].concat());
        subscriber.wait_for_line("subscribed");
        subscriber
    };
    let mut subscriber = start();
    world.write(ROWS);
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
    let mut deaths = 0;
    let all_but_one = ROWS as i64 - 1;
    wait_until("only the deadly one is left", || {
        if subscriber.has_ended() {
            deaths += 1;
            subscriber = start();
        }
        world.counts().received == all_but_one
    });
    subscriber.wait_for_line("given up without being run once more");
    // What a program says is in the log.
    let said = subscriber.wait_for_line("got {");
    assert!(said.contains("from=\"stdout\""), "{said}");
    // The first time nothing is counted, for it did not come again.
    assert_eq!(deaths, 1 + LIMIT);
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
    let letters = letters(&world);
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!(&letter.body[..], br#"{"n": 5}"#);
    let why = letter.header("outbox-error").unwrap();
    assert!(why.contains("was begun 3 times"), "{why}");
    let counted = "select count(*) as number from outbox_deliveries";
    assert_eq!(super::kill::number(&world, counted), 0);
}

/// What lies in the queue of dead letters.
fn letters(world: &World) -> Vec<Delivery> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options::from_url(&world.broker).unwrap();
    runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let destination = format!("/amq/queue/DLQ.{}", world.name);
        let last = diesel_outbox::stomp::SendFrame::new(destination.clone(), "last");
        client.send(last).await.unwrap();
        let subscribe = Subscribe {
            destination,
            headers: Vec::new(),
        };
        let mut subscription = client.subscribe(subscribe).await.unwrap();
        let mut letters = Vec::new();
        while let Some(delivery) = subscription.next().await {
            if &delivery.body[..] == b"last" {
                break;
            }
            letters.push(delivery);
        }
        letters
    })
}
