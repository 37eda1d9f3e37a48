//! The time from a commit to a consumer's receiving the message, while the relay is idle.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::backend::Backend;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::{OnCommit, Relay, Waker};
use diesel_outbox::stomp::{Client, Options, SendFrame, Subscribe, Subscription};
use diesel_outbox::{Error, Message, Shutdown};
use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::idle_times::{add, rest};
use crate::report::Report;

/// The variants are measured in turn, so that they share what else the machine does.
const ROUNDS: usize = 6;
/// In each round.
const MESSAGES: usize = 50;

/// What wakes the relay.
#[derive(Clone, Copy, PartialEq)]
enum WakeUp {
    /// Its watch of the database.
    Watch,
    /// `Waker::wake`, called after the commit; no watch.
    Waker,
    /// `OnCommit`; no watch.
    OnCommit,
    /// Both.
    OnCommitAndWatch,
}

pub(crate) fn measure(report: &mut Report) {
    broker_alone(report);
    let postgres = crate::support::postgres::<diesel::PgConnection>().unwrap();
    of::<PgConnection>("PostgreSQL", &postgres.url, (5.0, 25.0), 5.0, report);
    let mysql = crate::support::mysql::<diesel::MysqlConnection>().unwrap();
    of::<MysqlConnection>("MariaDB", &mysql.url, (60.0, 150.0), 3.0, report);
    let sqlite = crate::support::sqlite::<diesel::SqliteConnection>();
    of::<SqliteConnection>("SQLite", &sqlite.url, (15.0, 50.0), 3.0, report);
}

/// `goals` are those of the watch, p50 and p99; `goal` is that of `OnCommit`, p50.
fn of<C: Backend + Migrate>(
    name: &str,
    url: &str,
    goals: (f64, f64),
    goal: f64,
    report: &mut Report,
) {
    let mut conn = connect::<C>(url);
    conn.migrate().unwrap();
    let variants = [
        (WakeUp::Watch, "", Some(goals)),
        (WakeUp::Waker, ", Waker", None),
        (WakeUp::OnCommit, ", OnCommit", Some((goal, 25.0))),
        (
            WakeUp::OnCommitAndWatch,
            ", OnCommit and the watch",
            Some((goal, 25.0)),
        ),
    ];
    let mut times = [(); 4].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        for ((wake_up, _, _), times) in variants.iter().zip(&mut times) {
            times.extend(with::<C>(url, *wake_up));
        }
    }
    for ((_, words, goals), times) in variants.into_iter().zip(times) {
        let what = format!("commit to consumer: {name}{words}");
        add(&what, times, goals.unzip(), report);
    }
}

fn connect<C: Backend>(url: &str) -> C {
    let mut conn = C::establish(url).unwrap();
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma busy_timeout = 5000").unwrap();
    }
    conn
}

/// The times of a round, with a relay of its own.
fn with<C: Backend>(url: &str, wake_up: WakeUp) -> Vec<Duration> {
    let mut conn = connect::<C>(url);
    let watches = matches!(wake_up, WakeUp::Watch | WakeUp::OnCommitAndWatch);
    let config = Config::builder()
        .set("database_url", url)
        .set("stomp_url", Broker::usual().url)
        .set("wake_up", watches)
        .build()
        .unwrap();
    let relay = Relay::<C>::new(&config).unwrap();
    let waker = relay.waker();
    if matches!(wake_up, WakeUp::OnCommit | WakeUp::OnCommitAndWatch) {
        OnCommit::install(&mut conn, waker.clone()).unwrap();
    }
    let runtime = Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let relay = runtime.spawn(async move { relay.run(&signal).await });
    let wake = |waker: &Waker| {
        if wake_up == WakeUp::Waker {
            waker.wake();
        }
    };
    let mut consumer = Consumer::new(&runtime);
    let times = consumer.times(MESSAGES, |topic, n| {
        let message = Message::new(topic, n);
        conn.transaction::<_, Error, _>(|conn| message.publish(conn))
            .unwrap();
        let committed = Instant::now();
        wake(&waker);
        committed
    });
    shutdown.stop();
    runtime.block_on(relay).unwrap().unwrap();
    times
}

/// The part of the broker and of the client: from a SEND to the consumer.
fn broker_alone(report: &mut Report) {
    let runtime = Runtime::new().unwrap();
    let mut consumer = Consumer::new(&runtime);
    let client = consumer.client.clone();
    let times = consumer.times(ROUNDS * MESSAGES, |topic, n| {
        let frame = SendFrame::new(topic, n.to_string()).header("persistent", "true");
        let began = Instant::now();
        runtime.block_on(client.send(frame)).unwrap();
        began
    });
    add(
        "SEND to consumer: the client alone, no database",
        times,
        (None, None),
        report,
    );
}

/// A consumer of a topic that no other has.
struct Consumer<'a> {
    runtime: &'a Runtime,
    topic: String,
    client: Client,
    subscription: Subscription,
}

impl<'a> Consumer<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        let topic = format!("/topic/latency-{}", uuid::Uuid::new_v4().simple());
        let options = Options::from_url(&Broker::usual().url).unwrap();
        let (client, subscription) = runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let subscribe = Subscribe {
                destination: topic.clone(),
                headers: Vec::new(),
            };
            let subscription = client.subscribe(subscribe).await.unwrap();
            (client, subscription)
        });
        Self {
            runtime,
            topic,
            client,
            subscription,
        }
    }

    /// The times from the moment that `send` returns to the delivery.
    fn times(
        &mut self,
        messages: usize,
        mut send: impl FnMut(&str, usize) -> Instant,
    ) -> Vec<Duration> {
        let measured = (0..messages).map(|n| {
            std::thread::sleep(rest(n));
            let began = send(&self.topic, n);
            let delivery = self.runtime.block_on(self.subscription.next()).unwrap();
            let time = began.elapsed();
            drop(self.client.ack(&delivery));
            time
        });
        measured.collect()
    }
}
