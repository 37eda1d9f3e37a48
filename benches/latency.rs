//! How long from a commit to the broker's having the message, while the relay is idle.
//!
//! `cargo bench --bench latency --features postgres,mysql`; `DATABASE_URL` and `STOMP_URL` choose
//! the servers, else SQLite in a file and the loopback broker.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::Backend;
use diesel_outbox::config::Config;
use diesel_outbox::db::Address;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::Relay;
use diesel_outbox::stomp::{Client, Subscribe};
use diesel_outbox::testing::LoopbackBroker;
use diesel_outbox::{Message, Shutdown};
use tokio::runtime::Runtime;

const MESSAGES: usize = 300;
/// Between two messages the relay falls asleep. Never the same, or it would beat with the pauses of
/// the relay.
fn rest(n: usize) -> Duration {
    Duration::from_micros(20_000 + (n as u64 * 7_919) % 61_000)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let broker = LoopbackBroker::start().unwrap();
    let mut settings = Config::builder().env();
    if std::env::var_os("DATABASE_URL").is_none() {
        let file = folder.path().join("latency.db").display().to_string();
        settings = settings.set("database_url", file);
    }
    if std::env::var_os("STOMP_URL").is_none() {
        settings = settings.set("stomp_url", broker.url());
    }
    let config = settings.build().unwrap();
    let address = Address::parse(config.require_database_url().unwrap()).unwrap();
    let connect_to = address.connection_string().expose();
    match &address {
        #[cfg(feature = "postgres")]
        Address::Postgres(_) => measure(&config, PgConnection::establish(connect_to).unwrap()),
        #[cfg(feature = "mysql")]
        Address::Mysql(_) => measure(&config, MysqlConnection::establish(connect_to).unwrap()),
        _ => {
            let mut conn = SqliteConnection::establish(connect_to).unwrap();
            conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 5000")
                .unwrap();
            measure(&config, conn);
        }
    }
}

fn measure<C: Backend + Migrate>(config: &Config, mut conn: C) {
    conn.migrate().unwrap();
    conn.batch_execute("delete from published").unwrap();
    let topic = format!("/topic/latency-{}", uuid::Uuid::new_v4().simple());
    let runtime = Runtime::new().unwrap();
    let relay = Relay::<C>::new(config).unwrap();
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
    println!(
        "{}: commit to consumer p50 {:.1} ms, p99 {:.1} ms",
        C::NAME,
        at(50),
        at(99)
    );
}
