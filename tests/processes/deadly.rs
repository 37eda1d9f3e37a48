//! A message that kills the process that handles it.

use diesel_outbox::stomp::{Client, Delivery, Options, Subscribe};

use super::World;
use super::program::{Program, wait_until};
use super::signals::executable;

const ROWS: usize = 40;
const LIMIT: u32 = 3;

#[test]
fn a_message_that_kills_the_process_ends_at_the_dead_letters() {
    let Some(world) = World::new() else { return };
    // The first delivery is not counted, because it is not a redelivery.
    kills_until_the_limit(&world, 1 + LIMIT, "amq/queue");
}

/// ActiveMQ does not mark redeliveries of a durable topic after a lost connection.
#[test]
fn on_a_topic_of_activemq_too() {
    let Some(world) = World::new() else { return };
    let Some(broker) = super::support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ") else {
        return;
    };
    let world = World { broker, ..world };
    // It is one of the first to arrive, and those are counted.
    kills_until_the_limit(&world, LIMIT, "queue");
}

fn kills_until_the_limit(world: &World, expected_deaths: u32, kind: &str) {
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
        let more = ["--callback-attempts", "1"];
        let subscribe = env!("CARGO_BIN_EXE_subscribe");
        let mut subscriber = Program::start(world, subscribe, &[&arguments[..], &more].concat());
        subscriber.wait_for_line("subscribed");
        subscriber
    };
    let mut subscriber = start();
    world.write(ROWS);
    let mut relay = Program::start(world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
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
    subscriber.wait_for_line("attempts at the message ended with their processes");
    // The output of a program is in the log.
    let said = subscriber.wait_for_line("got {");
    assert!(said.contains("from=\"stdout\""), "{said}");
    assert_eq!(deaths, expected_deaths);
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
    let dead_letters = dead_letters(world, kind);
    let [dead_letter] = &dead_letters[..] else {
        panic!("{dead_letters:?}")
    };
    assert_eq!(&dead_letter.body[..], br#"{"n": 5}"#);
    let why = dead_letter.header("outbox-error").unwrap();
    assert!(
        why.contains("3 attempts at it ended with the process"),
        "{why}"
    );
    let counted = "select count(*) as number from outbox_deliveries";
    assert_eq!(super::kill::number(world, counted), 0);
}

/// The content of the dead-letter queue.
fn dead_letters(world: &World, kind: &str) -> Vec<Delivery> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options::from_url(&world.broker).unwrap();
    runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let destination = format!("/{kind}/DLQ.{}", world.name);
        let last = diesel_outbox::stomp::SendFrame::new(destination.clone(), "last");
        client.send(last).await.unwrap();
        let subscribe = Subscribe {
            destination,
            headers: Vec::new(),
        };
        let mut subscription = client.subscribe(subscribe).await.unwrap();
        let mut dead_letters = Vec::new();
        while let Some(delivery) = subscription.next().await {
            if &delivery.body[..] == b"last" {
                break;
            }
            dead_letters.push(delivery);
        }
        dead_letters
    })
}
