//! A Django service and a Rust one on the same tables and the same queue.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::schema::{Document, published};
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Producer, Registry, Shutdown};
use serde_json::json;

use crate::listener::Listener;
use crate::program::wait_until;
use crate::service::{run, start, world};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");

#[test]
fn django_writes_and_we_send() {
    let Some((world, python)) = world() else {
        return;
    };
    let conn = &mut world.connect();
    conn.migrate().unwrap();
    let topic = world.topic();
    run(&world, &python, &["service.py", "write", &topic, "20"]);
    // Django puts the version behind the destination.
    let listener = Listener::to(&world, &format!("{topic}.v1"));
    let mut relay = crate::program::Program::start(&world, PUBLISH, &["--once"]);
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    listener.wait_for(20);
    let ids: Vec<Document> = published::table
        .select(published::headers)
        .load(conn)
        .unwrap();
    for headers in ids {
        let id = headers.0["dop-msg-id"].as_str().unwrap();
        assert!(listener.has(id), "{id}");
    }
    assert_eq!(world.counts().sent, 20);
}

#[test]
fn we_write_and_django_sends() {
    let Some((world, python)) = world() else {
        return;
    };
    let conn = &mut world.connect();
    conn.migrate().unwrap();
    let listener = Listener::new(&world);
    let ids: Vec<_> = (0..20)
        .map(|n| {
            let message = Message::new(world.topic(), json!({"n": n})).header("x-own", "yes");
            message.publish(conn).unwrap()
        })
        .collect();
    run(&world, &python, &["service.py", "publish_once"]);
    listener.wait_for(20);
    for id in ids {
        assert!(listener.has(&id.to_string()), "{id}");
    }
    let counts = world.counts();
    assert_eq!((counts.sent, counts.waiting), (20, 0));
    let headers: Vec<Document> = published::table
        .select(published::headers)
        .load(conn)
        .unwrap();
    assert!(headers.iter().all(|headers| headers.0["x-own"] == "yes"));
}

#[test]
fn one_queue_for_both_and_one_effect_for_each_message() {
    const MESSAGES: i64 = 200;
    let Some((world, python)) = world() else {
        return;
    };
    let conn = &mut world.connect();
    conn.migrate().unwrap();
    conn.batch_execute("create table effects (note text not null, by text not null)")
        .unwrap();
    let topic = world.topic();

    let django = [
        "-m",
        "django",
        "subscribe",
        "service.note",
        &topic,
        &world.name,
    ];
    let mut django = start(&world, &python, &django);
    django.wait_for_line("Consumer started");

    let note = |conn: &mut PgConnection, payload: &Payload| -> Result<Outcome, BoxError> {
        let n = payload.body()["n"].to_string();
        let n = n.trim_matches('"');
        diesel::sql_query(format!("insert into effects values ('{n}', 'rust')")).execute(conn)?;
        Ok(Outcome::Done)
    };
    let config = Config::builder()
        .set("database_url", world.database.url.as_str())
        .set("stomp_url", world.broker.as_str())
        .build()
        .unwrap();
    let registry = Registry::<PgConnection>::new().on("note", note);
    let subscriber =
        Subscriber::new(&config, &registry, "note", &topic, Some(&world.name)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = runtime.spawn(async move { subscriber.run(&signal).await });

    let counted = |conn: &mut PgConnection, which: &str| -> (i64, i64) {
        let question =
            format!("select count(*) as n, count(distinct note) as d from effects where {which}");
        let effects: Effects = diesel::sql_query(question).get_result(conn).unwrap();
        (effects.n, effects.d)
    };
    runtime.block_on(async {
        let producer = Producer::connect(&config).await.unwrap();
        // Neither says when its queue is there, and a topic drops what no queue wants.
        while counted(conn, "by = 'django'").0 == 0 || counted(conn, "by = 'rust'").0 == 0 {
            let probe = Message::new(&topic, json!({"n": "probe"}));
            producer.send(probe).await.unwrap();
        }
        // Each of them twice, under one id.
        for n in 0..MESSAGES {
            let id = uuid::Uuid::now_v7().to_string();
            for _ in 0..2 {
                let message = Message::new(&topic, json!({"n": n})).header("cap-msg-id", &id);
                producer.send(message).await.unwrap();
            }
        }
        producer
            .send(Message::new(&topic, json!({"n": "last"})))
            .await
            .unwrap();
        producer.close().await.unwrap();
    });
    let numbered = "note not in ('probe', 'last')";
    wait_until("all have had their effect", || {
        counted(conn, numbered).1 == MESSAGES && counted(conn, "note = 'last'").0 == 1
    });
    shutdown.stop();
    let handled = runtime.block_on(running).unwrap().unwrap();
    django.signal("TERM");
    assert!(django.ended().success(), "{:#?}", django.lines());
    assert_eq!(counted(conn, numbered), (MESSAGES, MESSAGES));
    assert_eq!(world.counts().received, counted(conn, "true").0);
    assert_eq!(handled.dead, 0, "{handled:?}");
}

/// The queue of dead letters is the one that Django has declared; what is sent back comes to Django.
#[test]
fn what_we_give_up_lies_among_djangos_dead_letters() {
    let Some((world, python)) = world() else {
        return;
    };
    let conn = &mut world.connect();
    conn.migrate().unwrap();
    conn.batch_execute("create table effects (note text not null, by text not null)")
        .unwrap();
    let topic = world.topic();
    let arguments = [
        "-m",
        "django",
        "subscribe",
        "service.note",
        &topic,
        &world.name,
    ];
    let mut django = start(&world, &python, &arguments);
    django.wait_for_line("Consumer started");
    django.signal("TERM");
    assert!(django.ended().success(), "{:#?}", django.lines());

    let config = Config::builder()
        .set("database_url", world.database.url.as_str())
        .set("stomp_url", world.broker.as_str())
        .set("callback_attempts", 1)
        .build()
        .unwrap();
    let registry = Registry::<PgConnection>::new().on(
        "fails",
        |_: &mut PgConnection, _: &Payload| -> Result<Outcome, BoxError> {
            Err("on purpose".into())
        },
    );
    let subscriber =
        Subscriber::new(&config, &registry, "fails", &topic, Some(&world.name)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let running = runtime.spawn(async move { subscriber.run(&signal).await });
    runtime.block_on(async {
        let producer = Producer::connect(&config).await.unwrap();
        producer
            .send(Message::new(&topic, json!({"n": 7})))
            .await
            .unwrap();
        producer.close().await.unwrap();
    });
    let dead_letters = |task: &str, more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_outbox"))
            .args(["dead-letters", task, &world.name])
            .args(more)
            .env("STOMP_URL", &world.broker)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    wait_until("it is a dead letter, with its reason", || {
        dead_letters("list", &["--error", "on purpose"]).contains("1 listed of 1")
    });
    shutdown.stop();
    let handled = runtime.block_on(running).unwrap().unwrap();
    assert_eq!(handled.dead, 1);

    // Before Django comes back: it subscribes to the queue of dead letters for a moment, and a message that it
    // is given there ends its connection.
    assert!(dead_letters("replay", &["--all"]).contains("1 sent back of 1"));
    let mut django = start(&world, &python, &arguments);
    wait_until("Django has it", || {
        let effects = "select count(*) as n, count(distinct note) as d from effects";
        let effects: Effects = diesel::sql_query(effects).get_result(conn).unwrap();
        effects.n == 1
    });
    django.signal("TERM");
    assert!(django.ended().success(), "{:#?}", django.lines());
}

#[derive(QueryableByName)]
struct Effects {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    d: i64,
}
