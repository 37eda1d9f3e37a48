//! Relays and subscribers side by side, each with an outbox of its own in one database.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::testing::LoopbackBroker;
use diesel_outbox::{Message, Outcome, Payload, Registry, Shutdown, in_schema};
use tokio::runtime::Runtime;

use crate::place::Place;

const PATIENCE: Duration = Duration::from_secs(30);

fn settings(url: &str, broker: &LoopbackBroker) -> Builder {
    Config::builder()
        .set("database_url", url)
        .set("stomp_url", broker.url().as_str())
        // Nothing is found by the next look.
        .set("poll_interval", "1h")
}

/// Something that runs on a thread of its own until it is stopped.
struct Running<T> {
    shutdown: Shutdown,
    thread: std::thread::JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    fn start(run: impl FnOnce(&Runtime, &Shutdown) -> T + Send + 'static) -> Self {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let thread = std::thread::spawn(move || run(&Runtime::new().unwrap(), &seen));
        Self { shutdown, thread }
    }

    fn stop(self) -> T {
        self.shutdown.stop();
        self.thread.join().unwrap()
    }
}

fn relay(config: Config) -> Running<u64> {
    let relay = Relay::<PgConnection>::new(&config).unwrap();
    Running::start(move |runtime, shutdown| runtime.block_on(relay.run(shutdown)).unwrap().sent)
}

fn sent_to(broker: &LoopbackBroker, destination: &str, messages: usize) {
    let arrived = broker.wait_for(PATIENCE, |view| {
        let sent = view.sent();
        sent.iter()
            .filter(|sent| sent.destination == destination)
            .count()
            == messages
    });
    assert!(arrived, "{messages} to {destination}");
}

#[test]
fn each_relay_sends_its_own_rows_and_is_woken_by_them() {
    let Some(place) = Place::with_outboxes(&["a", "b", "public"]) else {
        return;
    };
    let broker = LoopbackBroker::start().unwrap();
    let url = place.url_with("public,b");
    let named = |schema: &str| {
        settings(&url, &broker)
            .set("database_schema", schema)
            .build()
            .unwrap()
    };
    // The third goes by its search path.
    let relays = [
        relay(named("a")),
        relay(named("b")),
        relay(settings(&url, &broker).build().unwrap()),
    ];
    let mut conn = place.connect("nowhere");
    for n in 1..=5 {
        for schema in ["a", "b", "public"] {
            let destination = format!("/queue/{schema}");
            in_schema(schema, || {
                Message::new(&destination, n).publish(&mut conn).unwrap()
            });
            sent_to(&broker, &destination, n);
        }
    }
    assert_eq!(relays.map(Running::stop), [5, 5, 5]);
    for schema in ["a", "b", "public"] {
        let settled = format!("select count(*) as n from {schema}.published where status = 2");
        assert_eq!(place.number(&settled), 5);
    }
}

/// The callback's own statements go by its search path; what it publishes goes to the outbox of the
/// subscriber.
#[test]
fn a_subscriber_keeps_to_its_schema_and_leaves_the_callbacks_path_alone() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    place
        .connect("public")
        .batch_execute("create table effects (note text)")
        .unwrap();
    let broker = LoopbackBroker::start().unwrap();
    let work = |conn: &mut PgConnection, payload: &Payload| {
        conn.batch_execute(&format!(
            "insert into effects values ('{}'); set local search_path = nowhere",
            payload.msg_id()
        ))?;
        Message::new("/queue/answers", 1).publish(conn)?;
        Ok::<_, diesel_outbox::BoxError>(Outcome::Done)
    };
    let run = |schema: &str| {
        let config = settings(&place.url_with("public"), &broker)
            .set("database_schema", schema)
            .build()
            .unwrap();
        let registry = Registry::<PgConnection>::new().on("it", work);
        // Two services, each with a queue of its own on the topic.
        let subscriber =
            Subscriber::new(&config, &registry, "it", "/topic/orders", Some(schema)).unwrap();
        Running::start(move |runtime, shutdown| {
            runtime.block_on(subscriber.run(shutdown)).unwrap().done
        })
    };
    let subscribers = [run("a"), run("b")];
    let declared = broker.wait_for(PATIENCE, |view| view.has_queue("a") && view.has_queue("b"));
    assert!(declared);
    let mut conn = place.connect("nowhere");
    in_schema("a", || {
        for n in 0..3 {
            Message::new("/topic/orders", n).publish(&mut conn).unwrap();
        }
    });
    let config = settings(&place.url_with("public"), &broker)
        .set("database_schema", "a")
        .set("destination", "/topic/orders")
        .build()
        .unwrap();
    let relay = Relay::<PgConnection>::new(&config).unwrap();
    Runtime::new()
        .unwrap()
        .block_on(relay.run_once(&Shutdown::new()))
        .unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while place.rows("effects") < 6 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(subscribers.map(Running::stop), [3, 3]);
    assert_eq!((place.rows("a.received"), place.rows("b.received")), (3, 3));
    let answers = |schema: &str| {
        place.number(&format!(
            "select count(*) as n from {schema}.published where destination = '/queue/answers'"
        ))
    };
    assert_eq!((answers("a"), answers("b")), (3, 3));
}

#[test]
fn a_start_without_tables_says_where_it_looked() {
    let Some(place) = Place::with_outboxes(&["b"]) else {
        return;
    };
    let broker = LoopbackBroker::start().unwrap();
    let start = |builder: Builder| {
        let relay = Relay::<PgConnection>::new(&builder.build().unwrap()).unwrap();
        let runtime = Runtime::new().unwrap();
        let error = runtime
            .block_on(relay.run_once(&Shutdown::new()))
            .unwrap_err();
        error.to_string()
    };
    let error = start(settings(&place.url_with("public,b"), &broker));
    let expected = "missing or out of date in the schema `public` (the schema `b` of the search path has \
                an outbox; if it is this service's, set database_schema = \"b\"): run `outbox migrate`";
    assert!(error.contains(expected), "{error}");
    let error = start(settings(&place.url_with("public"), &broker).set("database_schema", "c"));
    assert!(
        error.contains("in the schema `c`: run `outbox migrate`"),
        "{error}"
    );
}
