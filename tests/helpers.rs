//! The helpers for users' tests, as a user would write them; several subscriptions of one file.
#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use outbox_test_support as support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::testing::{self, Handling, LoopbackBroker, SettleError};
use diesel_outbox::{BoxError, Json, Message, Meta, Outcome, Payload, Registry};
use serde_json::json;

#[derive(serde::Deserialize)]
struct Order {
    id: i32,
    total: i64,
}

/// Bills an order, and publishes a message about it.
fn bill(
    conn: &mut SqliteConnection,
    Json(order): Json<Order>,
    meta: &Meta,
) -> Result<Outcome, BoxError> {
    assert_eq!(meta.header("content-type"), Some("application/json"));
    if order.total < 0 {
        return Ok(Outcome::Discard("a negative total".to_owned()));
    }
    let (id, total) = (order.id, order.total);
    conn.batch_execute(&format!("insert into bills values ({id}, {total})"))?;
    Message::new("/topic/bills", json!({"order": id}))
        .key(meta.header("key").map(str::to_owned))
        .publish(conn)?;
    Ok(Outcome::Done)
}

/// Mails a bill.
fn mail(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
    let order = payload.body()["order"].as_i64().ok_or("no order")?;
    conn.batch_execute(&format!("insert into mails values ({order})"))?;
    Ok(Outcome::Done)
}

fn registry() -> Registry<SqliteConnection> {
    Registry::new().on_json("bill", bill).on("mail", mail)
}

fn connect(url: &str) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(url).unwrap();
    conn.batch_execute("pragma busy_timeout = 20000").unwrap();
    conn
}

fn prepared(url: &str) -> SqliteConnection {
    let mut conn = connect(url);
    conn.migrate().unwrap();
    conn.batch_execute("create table bills (id int, total int); create table mails (id int)")
        .unwrap();
    conn
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

fn count(conn: &mut SqliteConnection, table: &str) -> i64 {
    let query = format!("select count(*) as number from {table}");
    let found: Number = diesel::sql_query(query).get_result(conn).unwrap();
    found.number
}

#[test]
fn a_message_goes_through_a_callback() {
    let mut conn = prepared(":memory:");
    // A transaction of the test's own, as many write their tests.
    conn.begin_test_transaction().unwrap();
    let mut order = |total: i64| {
        let message = Message::new("/topic/orders", json!({"id": 7, "total": total}));
        let message = message.key("ann".to_owned());
        testing::handle(&mut conn, &registry(), "bill", message).unwrap()
    };
    assert!(order(12).is_done());
    assert!(matches!(order(-1), Handling::Discarded(reason) if reason.contains("negative")));
    let message = Message::new("/topic/orders", json!({"id": "seven"}));
    let handling = testing::handle(&mut conn, &registry(), "bill", message).unwrap();
    let Handling::Failed {
        error,
        is_permanent,
    } = handling
    else {
        panic!("{handling:?}")
    };
    assert!(is_permanent && error.to_string().contains("expected i32"));
    let rows = testing::published(&mut conn).unwrap();
    assert_eq!(rows.len(), 1, "only the first one wrote a message");
    assert_eq!(rows[0].body, json!({"order": 7}));
    assert_eq!(rows[0].destination, "/topic/bills");
    assert_eq!(
        rows[0].key.as_deref(),
        Some("ann"),
        "of the message's header"
    );
    assert!(rows[0].header("dop-correlation-id").is_some());
    assert_eq!(count(&mut conn, "received"), 1);
    let message = Message::new("/topic/orders", 1);
    let unknown = testing::handle(&mut conn, &registry(), "send", message).unwrap_err();
    assert!(unknown.to_string().contains("there are: bill"), "{unknown}");
}

#[test]
fn published_to_returns_the_rows_of_one_destination() {
    let mut conn = prepared(":memory:");
    for (destination, version, body) in [
        ("/topic/bills", None, 1),
        ("/topic/bills", Some("v1"), 2),
        ("/topic/bills.paid", None, 3),
        ("/topic/bills", None, 4),
    ] {
        let mut message = Message::new(destination, body);
        if let Some(version) = version {
            message = message.version(version);
        }
        message.publish(&mut conn).unwrap();
    }
    let mut bodies = |destination: &str| {
        let rows = testing::published_to(&mut conn, destination).unwrap();
        rows.into_iter().map(|row| row.body).collect::<Vec<_>>()
    };
    assert_eq!(bodies("/topic/bills"), [json!(1), json!(4)]);
    assert_eq!(bodies("/topic/bills.v1"), [json!(2)]);
    assert!(bodies("/topic/mails").is_empty());
    assert_eq!(testing::published(&mut conn).unwrap().len(), 4);
}

const TABLES: &str = r#"
[[subscription]]
callback = "bill"
destination = "/topic/orders"
queue = "billing"
workers = 2

[[subscription]]
callback = "mail"
destination = "/topic/bills"
callback_attempts = 1
"#;

#[tokio::test]
async fn a_flow_of_two_subscriptions_comes_to_rest() {
    let database = support::sqlite::<diesel::SqliteConnection>();
    let mut conn = prepared(&database.url);
    let broker = Arc::new(LoopbackBroker::start().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.toml");
    std::fs::write(&file, TABLES).unwrap();
    let config = Config::builder()
        .file(&file)
        .set("database_url", database.url.as_str())
        .set("stomp_url", broker.url())
        .set("callback_first_delay", "1ms")
        .build()
        .unwrap();
    assert_eq!(config.subscription.len(), 2);
    assert_eq!(config.subscription[0].config.workers, 2);
    assert_eq!(config.subscription[1].config.callback_attempts, 1);
    for id in 0..20 {
        let order = json!({"id": id, "total": id - 1});
        Message::new("/topic/orders", order)
            .publish(&mut conn)
            .unwrap();
    }
    let patience = Duration::from_secs(30);
    let settled = testing::settle(&broker, &config, &registry(), patience)
        .await
        .unwrap();
    assert_eq!(settled.sent.sent, 20 + 19);
    assert_eq!((settled.handled.done, settled.handled.discarded), (38, 1));
    assert_eq!(count(&mut conn, "bills"), 19);
    assert_eq!(count(&mut conn, "mails"), 19);
    assert!(
        testing::published(&mut conn)
            .unwrap()
            .iter()
            .all(|row| row.is_sent)
    );

    broker.withhold_receipts(true);
    Message::new("/topic/orders", json!({"id": 1, "total": 1}))
        .publish(&mut conn)
        .unwrap();
    let patience = Duration::from_millis(200);
    let restless = testing::settle(&broker, &config, &registry(), patience).await;
    assert!(
        matches!(restless, Err(SettleError::NotSettled(_))),
        "{restless:?}"
    );
}

/// Each has its effect, under the name of its own consumer.
#[tokio::test]
async fn two_callbacks_of_one_topic_have_consumers_of_their_own() {
    let database = support::sqlite::<diesel::SqliteConnection>();
    let mut conn = prepared(&database.url);
    let broker = Arc::new(LoopbackBroker::start().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.toml");
    let table = |queue: &str, more: &str| {
        format!(
            "[[subscription]]\ncallback = \"log\"\ndestination = \"/topic/orders\"\nqueue = \"{queue}\"\n{more}\n"
        )
    };
    let tables = [table("billing", ""), table("audit", "consumer = \"audit\"")];
    std::fs::write(&file, tables.concat()).unwrap();
    let config = Config::builder()
        .file(&file)
        .set("database_url", database.url.as_str())
        .set("stomp_url", broker.url())
        .build()
        .unwrap();
    for n in 0..5 {
        Message::new("/topic/orders", n).publish(&mut conn).unwrap();
    }
    let patience = Duration::from_secs(30);
    let settled = testing::settle(&broker, &config, &registry(), patience)
        .await
        .unwrap();
    assert_eq!((settled.handled.done, settled.handled.duplicates), (10, 0));
    assert_eq!(count(&mut conn, "received"), 10);
}

/// What `subscribe` says of its file and arguments.
fn complaint(tables: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.toml");
    std::fs::write(&file, tables).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_subscribe"))
        .args(arguments)
        .arg("--config")
        .arg(&file)
        .env("DATABASE_URL", "sqlite://nowhere.db")
        .env("STOMP_URL", "stomp://127.0.0.1:1/")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn what_cannot_be_subscribed_to_is_told_at_the_start() {
    let table = |text: &str| format!("[[subscription]]\n{text}");
    let log = "callback = \"log\"\ndestination = \"/topic/a\"\n";
    for (tables, expected) in [
        (String::new(), "no subscription: run `subscribe <callback>"),
        (
            table("callback = \"log\""),
            "destination is not set: add it to [[subscription]] 1 of file",
        ),
        (
            table(&format!("{log}worker = 2")),
            "did you mean `workers`?",
        ),
        (
            table(&format!("{log}lease = \"1s\"")),
            "unknown key \"lease\" in [[subscription]] 1",
        ),
        (
            format!(
                "{}{}",
                table(log),
                table(&format!("{log}queue = \"b\"\nworkers = 0"))
            ),
            "workers = 0 from [[subscription]] 2",
        ),
        (
            format!("{}{}", table(log), table(log)),
            "two subscriptions have the queue `a`",
        ),
        (
            format!("{}{}", table(log), table(&format!("{log}queue = \"b\""))),
            "`/topic/a` and `/topic/a` receive the same messages under the same consumer",
        ),
        (
            format!(
                "{}{}",
                table(log),
                table(&log.replace("/topic/a", "/exchange/amq.topic/#"))
            ),
            "`/topic/a` and `/exchange/amq.topic/#` receive the same messages",
        ),
        (
            table(&format!("{}queue = \"b\"", log.replace("topic", "queue"))),
            "`/queue/a` is the queue `a`, so it cannot be given the name `b`",
        ),
        (
            table(&log.replace("log", "nobody")),
            "no callback is named `nobody`",
        ),
        (
            table(&log.replace("/topic/a", "/topic/a/b")),
            "RabbitMQ does not know the destination `/topic/a/b`",
        ),
    ] {
        let said = complaint(&tables, &[]);
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    for (arguments, expected) in [
        (&["log"][..], "<DESTINATION>"),
        (
            &["log", "/topic/a", "--workers", "0"],
            "workers = 0 from flag --workers",
        ),
        (
            &[
                "log",
                "/topic/a",
                "--workers",
                "8",
                "--database-pool-size",
                "4",
            ],
            "database_pool_size = 4 from flag --database-pool-size must be at least workers = 8",
        ),
        (
            &["log", "/topic/a", "--shutdown-timeout", "soon"],
            "--shutdown-timeout",
        ),
        (
            &["log", "/topic/a", "--dead-letter", "nobody"],
            "broker, outbox, or none",
        ),
        (
            &["log", "/topic/a", "--delivery-limit", "0"],
            "--delivery-limit",
        ),
        (&["log", "/topic/a", "a/b\u{7}"], "control character"),
        (
            &["exec:/no/such/program", "/topic/a"],
            "there is no program",
        ),
        (&["exec:./Cargo.toml", "/topic/a"], "not an executable file"),
    ] {
        let said = complaint("", arguments);
        assert!(
            said.contains(expected),
            "{arguments:?}: no {expected:?} in {said}"
        );
    }
}
