//! Dead letters, on both brokers.

use std::process::Command;

use diesel::SqliteConnection;
use diesel_outbox::config::Config;
use diesel_outbox::{Message, Producer};
use tokio::runtime::Runtime;

use crate::client::{Answer, Client};
use crate::document::texts;
use crate::served::{Served, web_with_tokens};
use crate::subject::{Subject, connect};
use crate::support;
use crate::support::TestDatabase;
use crate::support::program::{Program, wait_until};

const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[2J\u{202e}";

/// A queue with a subscriber, and the pages.
struct Place {
    database: TestDatabase,
    broker: String,
    name: String,
}

impl Place {
    fn new(broker: &str) -> Self {
        let database = support::sqlite::<SqliteConnection>();
        connect::<SqliteConnection>(&database);
        Self {
            database,
            broker: broker.to_owned(),
            name: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
        }
    }

    fn with_settings(&self, mut command: Command) -> Command {
        command
            .env("DATABASE_URL", &self.database.url)
            .env("STOMP_URL", &self.broker)
            .env("OUTBOX_CALLBACK_ATTEMPTS", "1")
            .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000")
            .env("OUTBOX_DEAD_LETTER_HEADERS", "x-expires:600000");
        command
    }

    fn subscribe(&self, callback: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subscribe"));
        command.args([callback, &format!("/topic/{}", self.name), &self.name]);
        let mut program = Program::spawn(&mut self.with_settings(command));
        program.wait_for_line(" subscribed");
        program
    }

    fn send(&self, bodies: &[serde_json::Value]) -> Vec<String> {
        let config = Config::builder()
            .set("database_url", self.database.url.as_str())
            .set("stomp_url", self.broker.as_str());
        let config = config.build().unwrap();
        Runtime::new().unwrap().block_on(async {
            let producer = Producer::connect(&config).await.unwrap();
            let mut ids = Vec::new();
            for body in bodies {
                let message = Message::new(format!("/topic/{}", self.name), body.clone());
                let message = message
                    .header("x-note", HOSTILE)
                    .header("token", "secret-1");
                ids.push(producer.send(message).await.unwrap().to_string());
            }
            producer.close().await.unwrap();
            ids
        })
    }

    fn received(&self) -> i64 {
        let mut conn = connect::<SqliteConnection>(&self.database);
        conn.number("select count(*) as n from received")
    }
}

fn stop(mut program: Program) {
    program.signal("TERM");
    program.ended();
}

fn ids(page: &Answer) -> Vec<String> {
    let mut ids = texts(&page.document(), "td.id");
    ids.sort();
    ids
}

/// Confirms, and waits for the end of the change.
#[track_caller]
fn confirm(client: &Client, asked: &Answer) -> Answer {
    let mut job = client
        .send_and_follow(asked, &asked.form("confirm"))
        .is(200);
    wait_until("the change ends", || {
        job = client.visit(&job.url).is(200);
        !job.text().contains("Running")
    });
    job
}

fn they_are_listed_replayed_and_deleted(broker: &str) {
    let place = Place::new(broker);
    let failing = place.subscribe("exec:/bin/false");
    let bodies: Vec<_> = (0..5)
        .map(|n| serde_json::json!({"n": n, "password": "secret-2", "text": HOSTILE}))
        .collect();
    let mut sent = place.send(&bodies);
    let served = Served::spawn(&mut place.with_settings(web_with_tokens(&place.database.url, &[])));
    let ann = &served.ann;
    let list = format!("dead-letters?queue={}", place.name);
    wait_until("all are dead letters", || {
        ids(&ann.get(&list).is(200)).len() == 5
    });
    stop(failing);
    let replayed = sent[2].clone();
    sent.sort();
    let page = ann.get(&list).is(200).says(&format!("DLQ.{}", place.name));
    assert_eq!(ids(&page), sent);
    let page = page.says("exit status: 1").says("1 ");
    // One message: what it says is hidden until somebody asks.
    let message = ann.visit(&page.link(&replayed)).is(200).says(&replayed);
    let closed = message
        .lacks("secret-")
        .lacks("<script>alert")
        .says("x-note");
    let open = ann.visit(&closed.link("Show the values")).is(200);
    let open = ann.visit(&open.link("Show it")).is(200).lacks("secret-");
    let shown = open.text();
    assert!(
        shown.contains("<script>alert(1)</script>") && shown.contains("***"),
        "{shown}"
    );
    // Filters.
    let filtered = |filter: &str| ids(&ann.get(&format!("{list}&{filter}")).is(200)).len();
    assert_eq!(filtered("error=status"), 5);
    assert_eq!(filtered("error=nothing"), 0);
    assert_eq!(filtered("older-than=1h"), 0);
    ann.get(&format!("{list}&older-than=x"))
        .is(400)
        .says("older-than: `x`");
    let gone = format!("dead-letter?queue={}&id=nothing", place.name);
    ann.get(&gone)
        .is(404)
        .says("no dead letter has this id any more");
    ann.get("dead-letter?id=x")
        .is(400)
        .says("`queue` is missing");
    // One goes back to a subscriber that works.
    let working = place.subscribe("store");
    let message = ann.visit(&message_url(ann, &list, &replayed)).is(200);
    let form = message.form("change-dead-letters").press("replay.selected");
    let asked = ann.send(&message, &form).is(200).says("Replay 1 message?");
    confirm(ann, &asked).says("1 sent back");
    wait_until("it is handled", || place.received() == 1);
    ann.follow(&format!("inbox?message={replayed}")).is(200);
    // It had its effect once, and so has each other.
    ann.send(&asked, &asked.form("confirm")).is(410);
    let page = ann.get(&list).is(200);
    assert_eq!(ids(&page).len(), 4);
    let form = page.form("change-dead-letters");
    ann.send(&page, &form.clone().press("drop.selected"))
        .is(400)
        .says("no message is selected");
    let kept = ids(&page)[0].clone();
    let form = form.with("id", &kept);
    let asked = ann
        .send(&page, &form.clone().press("replay.selected"))
        .is(200);
    asked.says("Replay 1 message?");
    // All that match: the boxes do not count.
    let asked = ann
        .send(&page, &form.press("drop.all"))
        .is(200)
        .says("Delete 4 messages?");
    let job = confirm(ann, &asked).says("4 deleted").says("Begun by ann");
    let list = ann.visit(&job.link("Back to the list")).is(200);
    list.says("It has no such messages.");
    stop(working);
    assert_eq!(place.received(), 1);
    let lines = served.stop();
    let logged = lines
        .iter()
        .filter(|line| line.contains("\"ann\"") && line.contains(&place.name));
    assert_eq!(logged.count(), 2, "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.contains("secret-")),
        "{lines:#?}"
    );
}

fn message_url(client: &Client, list: &str, id: &str) -> url::Url {
    client.get(list).is(200).link(id)
}

#[test]
fn they_are_listed_replayed_and_deleted_on_rabbitmq() {
    if let Some(broker) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") {
        they_are_listed_replayed_and_deleted(&broker);
    }
}

#[test]
fn they_are_listed_replayed_and_deleted_on_activemq() {
    if let Some(broker) = support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ") {
        they_are_listed_replayed_and_deleted(&broker);
    }
}

#[test]
fn a_broker_that_is_away_is_named() {
    let place = Place::new("stomp://guest:hunter2@127.0.0.1:1");
    let served = Served::spawn(&mut place.with_settings(web_with_tokens(&place.database.url, &[])));
    let ann = &served.ann;
    // Without a queue nothing is read.
    ann.get("dead-letters").is(200).lacks("127.0.0.1:1");
    for page in ["dead-letters?queue=a", "dead-letter?queue=a&id=x"] {
        let refused = ann
            .get(page)
            .is(502)
            .says("The dead letters cannot be read");
        refused.says("127.0.0.1:1").lacks("hunter2");
    }
    for queue in ["/topic/a", "%20/exchange/x", "/queue/"] {
        let refused = ann.get(&format!("dead-letters?queue={queue}"));
        assert!(
            matches!(refused.status, 400 | 502),
            "{queue}: {}",
            refused.text()
        );
    }
    ann.get("").is(200);
}
