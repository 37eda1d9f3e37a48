//! Measures rows drained and messages consumed per second: `cargo bench --bench throughput`.
//!
//! Uses `DATABASE_URL` and `STOMP_URL` if they are set, otherwise an SQLite file and the loopback
//! broker. Each figure is the median of the rounds; compare the ratios of figures from one run. It
//! first empties `published` and `received`: use a database for this benchmark only.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::admin;
use diesel_outbox::backend::Backend;
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::db::Address;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::relay::Relay;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::testing::LoopbackBroker;
use diesel_outbox::{Message, Registry, Shutdown};
use tokio::runtime::Runtime;

const ROWS: usize = 5_000;
const ROUNDS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let broker = LoopbackBroker::start().unwrap();
    let file = folder.path().join("bench.db").display().to_string();
    let settings = || {
        let mut settings = Config::builder().set("poll_interval", "10ms").env();
        if std::env::var_os("DATABASE_URL").is_none() {
            settings = settings.set("database_url", file.as_str());
        }
        if std::env::var_os("STOMP_URL").is_none() {
            settings = settings.set("stomp_url", broker.url());
        }
        settings
    };
    let config = settings().build().unwrap();
    let address = Address::parse(config.require_database_url().unwrap()).unwrap();
    let connect_to = address.connection_string().expose();
    #[cfg(feature = "postgres")]
    if address.is_for::<PgConnection>() {
        return measure(settings, PgConnection::establish(connect_to).unwrap());
    }
    #[cfg(feature = "mysql")]
    if address.is_for::<MysqlConnection>() {
        return measure(settings, MysqlConnection::establish(connect_to).unwrap());
    }
    let mut conn = SqliteConnection::establish(connect_to).unwrap();
    conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 5000")
        .unwrap();
    measure(settings, conn);
}

fn measure<C: Backend + Migrate>(settings: impl Fn() -> Builder, mut conn: C) {
    let conn = &mut conn;
    conn.migrate().unwrap();
    let topic = format!("/topic/bench-{}", uuid::Uuid::new_v4().simple());
    println!("{} rows a round, {ROUNDS} rounds, {}", ROWS, C::NAME);

    let mut slowest = None;
    for window in [1, 10, 128] {
        let rate = median(|| {
            fill(conn, &topic);
            let config = settings().set("window", window).build().unwrap();
            let relay = Relay::<C>::new(&config).unwrap();
            let runtime = Runtime::new().unwrap();
            let began = Instant::now();
            let sent = runtime.block_on(relay.run_once(&Shutdown::new())).unwrap();
            assert_eq!(sent.sent, ROWS as u64);
            began.elapsed()
        });
        report(&format!("drained, window {window}"), rate, &mut slowest);
    }

    let mut slowest = None;
    let rate = median(|| consume::<C>(&settings, conn, &topic));
    report("consumed, callback in the inbox", rate, &mut slowest);
}

fn fill<C: Backend>(conn: &mut C, topic: &str) {
    conn.batch_execute("delete from published; delete from received")
        .unwrap();
    conn.transaction::<_, diesel_outbox::Error, _>(|conn| {
        for n in 0..ROWS {
            let body = serde_json::json!({"id": n, "customer": "ann", "total": 12});
            Message::new(topic, body).publish(conn)?;
        }
        Ok(())
    })
    .unwrap();
}

fn consume<C: Backend>(settings: impl Fn() -> Builder, conn: &mut C, topic: &str) -> Duration {
    let config = settings().build().unwrap();
    let queue = topic.rsplit('/').next().unwrap();
    let subscriber =
        || Subscriber::<C>::new(&config, &Registry::new(), "store", topic, Some(queue)).unwrap();
    let runtime = Runtime::new().unwrap();
    let run = |until: &mut dyn FnMut() -> bool| {
        let shutdown = Shutdown::new();
        let (signal, subscriber) = (shutdown.clone(), subscriber());
        let running = runtime.spawn(async move { subscriber.run(&signal).await });
        while !until() {
            std::thread::yield_now();
        }
        shutdown.stop();
        runtime.block_on(running).unwrap().unwrap();
    };
    // Topics drop messages that no queue is bound to: wait until a first message arrives.
    let send = || {
        let relay = Relay::<C>::new(&config).unwrap();
        runtime.block_on(relay.run_once(&Shutdown::new())).unwrap()
    };
    conn.batch_execute("delete from published; delete from received")
        .unwrap();
    run(&mut || {
        Message::new(topic, 0).publish(conn).unwrap();
        send();
        admin::totals(conn).unwrap().received > 0
    });
    fill(conn, topic);
    send();
    let began = Instant::now();
    run(&mut || {
        std::thread::park_timeout(Duration::from_millis(20));
        admin::totals(conn).unwrap().received >= ROWS as i64
    });
    began.elapsed()
}

fn median(mut round: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    times.sort();
    ROWS as f64 / times[ROUNDS / 2].as_secs_f64()
}

fn report(what: &str, rate: f64, slowest: &mut Option<f64>) {
    let base = *slowest.get_or_insert(rate);
    println!("{what:<34} {rate:>9.0} /s   {:.1}x", rate / base);
}
