//! How long from a commit to the broker's having the message, while the relay is idle.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::backend::Backend;
use diesel_outbox::config::Config;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::Relay;
use diesel_outbox::stomp::{Client, Subscribe};
use diesel_outbox::{Message, Shutdown};
use tokio::runtime::Runtime;

use crate::report::{Goal, Report};

const MESSAGES: usize = 300;
/// Between two messages the relay falls asleep. Never the same, or it would beat with the pauses of
/// the relay.
fn rest(n: usize) -> Duration {
    Duration::from_micros(20_000 + (n as u64 * 7_919) % 61_000)
}

pub(crate) fn measure(report: &mut Report) {
    let postgres = crate::support::postgres().unwrap();
    of::<PgConnection>("PostgreSQL", &postgres.url, (5.0, 25.0), report);
    let mysql = crate::support::mysql().unwrap();
    of::<MysqlConnection>("MariaDB", &mysql.url, (60.0, 150.0), report);
    let sqlite = crate::support::sqlite();
    of::<SqliteConnection>("SQLite", &sqlite.url, (15.0, 50.0), report);
}

fn of<C: Backend + Migrate>(name: &str, url: &str, goals: (f64, f64), report: &mut Report) {
    let config = Config::builder()
        .set("database_url", url)
        .set("stomp_url", crate::broker())
        .build()
        .unwrap();
    let mut conn = C::establish(url).unwrap();
    if name == "SQLite" {
        conn.batch_execute("pragma busy_timeout = 5000").unwrap();
    }
    conn.migrate().unwrap();
    let topic = format!("/topic/latency-{}", uuid::Uuid::new_v4().simple());
    let runtime = Runtime::new().unwrap();
    let relay = Relay::<C>::new(&config).unwrap();
    let shutdown = Shutdown::new();
    let heeded = shutdown.clone();
    let relay = runtime.spawn(async move { relay.run(&heeded).await });
    let (client, mut subscription) = runtime.block_on(async {
        let client = Client::connect(&config.stomp_options().unwrap())
            .await
            .unwrap();
        let subscribe = Subscribe {
            destination: topic.clone(),
            headers: Vec::new(),
        };
        let subscription = client.subscribe(subscribe).await.unwrap();
        (client, subscription)
    });
    let mut times: Vec<Duration> = (0..MESSAGES)
        .map(|n| {
            std::thread::sleep(rest(n));
            Message::new(&topic, n).publish(&mut conn).unwrap();
            let committed = Instant::now();
            let delivery = runtime.block_on(subscription.next()).unwrap();
            let time = committed.elapsed();
            drop(client.ack(&delivery));
            time
        })
        .collect();
    shutdown.stop();
    runtime.block_on(relay).unwrap().unwrap();
    times.sort();
    let at = |percent: usize| times[(MESSAGES - 1) * percent / 100].as_secs_f64() * 1000.0;
    for (percent, goal) in [(50, goals.0), (99, goals.1)] {
        let what = format!("commit to consumer: {name}, p{percent}");
        let milliseconds = at(percent);
        let measured = format!("{milliseconds:.1} ms");
        report.add(&what, measured, milliseconds, Goal::AtMost(goal));
    }
}
