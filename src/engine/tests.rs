//! The engine with a second delivery: rows go to a closure, without a broker, on SQLite.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};
use serde_json::json;
use tokio::sync::watch;

use super::delivery::{Outcome, Start};
use super::*;
use crate::Message;
use crate::backend::RowKey;
use crate::config::{Builder, Config};
use crate::db::Address;
use crate::engine::hooks::Hooks;
use crate::migrations::Migrate;
use crate::relay::observer::RelayObserver;
use crate::relay::{RelayMonitor, RelayStats};
use row::Row;

const PATIENCE: Duration = Duration::from_secs(60);

/// The key and the body of a row that arrived.
type Arrival = (Option<String>, i32);
type Deliver = Box<dyn FnMut(&Row) -> Outcome + Send>;

/// Passes rows to a closure, one after another, as a connection passes frames to a broker. After a row
/// that was not sent, the rows of its key that were started behind it are returned.
struct ToClosure {
    deliver: Deliver,
    window: usize,
    started: VecDeque<Box<Row>>,
    returned: VecDeque<Box<Row>>,
    /// Whether rows can be started.
    is_ready: watch::Receiver<bool>,
    /// Whether rows that were started continue.
    goes_on: watch::Receiver<bool>,
    is_stopping: bool,
    forgotten: Arc<Mutex<Vec<RowKey>>>,
    /// How long each answer to `in_flight` takes, as on a machine that is busy with other processes.
    delay: Duration,
}

impl Delivery for ToClosure {
    type Error = Infallible;

    fn open(&mut self) {}

    fn is_ready(&self) -> bool {
        *self.is_ready.borrow()
    }

    fn has_capacity(&self) -> bool {
        self.is_ready() && !self.is_stopping && self.started.len() < self.window
    }

    fn start(&mut self, row: Box<Row>) -> Start {
        if !self.returned.is_empty() {
            return Start::Later(row);
        }
        if row.claimed.destination == "no-such-function" {
            return Start::Ended(row, Outcome::Unsendable("no such function".to_owned()));
        }
        self.started.push_back(row);
        Start::Started
    }

    fn in_flight(&self) -> usize {
        std::thread::sleep(self.delay);
        self.started.len() + self.returned.len()
    }

    fn forget(&mut self, row: RowKey) {
        self.forgotten.lock().unwrap().push(row);
    }

    async fn event(&mut self) -> delivery::Event<Infallible> {
        if let Some(row) = self.returned.pop_front() {
            return delivery::Event::Ended(row, Outcome::NotSent { is_cut_off: false });
        }
        if self.started.is_empty() {
            let _ = self.is_ready.changed().await;
            return delivery::Event::Changed;
        }
        let _ = self.goes_on.wait_for(|goes_on| *goes_on).await;
        tokio::task::yield_now().await;
        let Some(row) = self.started.pop_front() else {
            return pending().await;
        };
        let outcome = (self.deliver)(&row);
        if outcome != Outcome::Sent
            && let Some(key) = row.key()
        {
            let all = self.started.drain(..);
            let (behind, others) = all.partition(|later| later.key() == Some(key));
            (self.returned, self.started) = (behind, others);
        }
        delivery::Event::Ended(row, outcome)
    }

    fn stop(&mut self) {
        self.is_stopping = true;
    }

    async fn close(&mut self) {}
}

/// A database, and what an engine on it needs.
struct Outbox {
    _folder: tempfile::TempDir,
    config: Config,
    conn: SqliteConnection,
    monitor: RelayMonitor,
    shutdown: Shutdown,
    is_ready: watch::Sender<bool>,
    goes_on: watch::Sender<bool>,
    forgotten: Arc<Mutex<Vec<RowKey>>>,
    delay: Duration,
}

/// A row as the database has it.
#[derive(Debug, QueryableByName)]
struct Stored {
    #[diesel(sql_type = Integer)]
    status: i32,
    #[diesel(sql_type = Integer)]
    retry: i32,
    #[diesel(sql_type = Nullable<Text>)]
    last_error: Option<String>,
}

impl Outbox {
    fn new(set: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("outbox.sqlite").display().to_string();
        let mut conn = SqliteConnection::establish(&url).unwrap();
        conn.batch_execute("pragma journal_mode = wal; pragma busy_timeout = 30000")
            .unwrap();
        conn.migrate().unwrap();
        let config = Config::builder()
            .set("database_url", url)
            .set("poll_interval", "10ms")
            .set("retry_first_delay", "1ms")
            .set("retry_maximum_delay", "5ms");
        Self {
            _folder: folder,
            config: set(config).build().unwrap(),
            conn,
            monitor: RelayMonitor::default(),
            shutdown: Shutdown::new(),
            is_ready: watch::Sender::new(true),
            goes_on: watch::Sender::new(true),
            forgotten: Arc::default(),
            delay: Duration::ZERO,
        }
    }

    fn write(&mut self, destination: &str, key: Option<&str>, body: i32) {
        Message::new(destination, json!(body))
            .key(key.map(str::to_owned))
            .publish(&mut self.conn)
            .unwrap();
    }

    /// Starts an engine that passes its rows to `deliver`.
    fn start(
        &self,
        deliver: impl FnMut(&Row) -> Outcome + Send + 'static,
    ) -> tokio::task::JoinHandle<RelayStats> {
        let url = self.config.require_database_url().unwrap();
        let address = Address::parse(url).unwrap();
        let db = Db::<SqliteConnection>::for_engine(&self.config, &address, 3);
        let settings = Settings::new(&self.config);
        let delivery = ToClosure {
            deliver: Box::new(deliver),
            window: settings.window,
            started: VecDeque::new(),
            returned: VecDeque::new(),
            is_ready: self.is_ready.subscribe(),
            goes_on: self.goes_on.subscribe(),
            is_stopping: false,
            forgotten: Arc::clone(&self.forgotten),
            delay: self.delay,
        };
        let parts = EngineParts {
            observer: RelayObserver::new(Hooks::default().start(0), self.monitor.clone()),
            settings,
            waker: Waker::default(),
            once: false,
        };
        let (shutdown, monitor) = (self.shutdown.clone(), self.monitor.clone());
        tokio::spawn(async move {
            let engine = Engine::new(db.until(&shutdown), delivery, parts, &shutdown);
            engine.run().await.unwrap();
            monitor.stats()
        })
    }

    fn count(&mut self, condition: &str) -> i64 {
        use diesel::dsl::sql;
        use diesel::sql_types::Bool;
        crate::schema::published::table
            .filter(sql::<Bool>(condition))
            .count()
            .get_result(&mut self.conn)
            .unwrap()
    }

    fn stored(&mut self, destination: &str) -> Stored {
        diesel::sql_query("select status, retry, last_error from published where destination = ?")
            .bind::<Text, _>(destination)
            .get_result(&mut self.conn)
            .unwrap()
    }

    async fn wait_until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(self) {
            let status = self.monitor.status();
            assert!(
                began.elapsed() < PATIENCE,
                "not in time: {what}; {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn not_sent() -> Outcome {
    Outcome::NotSent { is_cut_off: false }
}

#[tokio::test]
async fn each_outcome_leads_to_its_state() {
    let mut outbox = Outbox::new(|config| config.set("retry_attempts", 3).set("lease", "31s"));
    let destinations = [
        "sent",
        "refused-twice",
        "refused-always",
        "unsendable",
        "no-such-function",
        "not-sent",
        "unknown",
    ];
    for destination in destinations {
        outbox.write(destination, None, 0);
    }
    let attempts: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let counted = Arc::clone(&attempts);
    let running = outbox.start(move |row| {
        let mut attempts = counted.lock().unwrap();
        let attempt = attempts.entry(row.claimed.destination.clone()).or_default();
        *attempt += 1;
        match (row.claimed.destination.as_str(), *attempt) {
            ("refused-twice", 1 | 2) | ("refused-always", _) => {
                Outcome::Refused(format!("no, {attempt}"))
            }
            ("unsendable", _) => Outcome::Unsendable("cannot be".to_owned()),
            ("not-sent", 1..=3) => not_sent(),
            ("unknown", 1..=3) => Outcome::Unknown,
            _ => Outcome::Sent,
        }
    });
    outbox
        .wait_until("all rows are sent or parked", |outbox| {
            outbox.count("status = 1") == 0
        })
        .await;
    outbox.shutdown.stop();
    let stats = running.await.unwrap();
    assert_eq!((stats.sent, stats.failed, stats.parked), (4, 2 + 3, 3));
    let of = |outbox: &mut Outbox, destination| {
        let Stored {
            status,
            retry,
            last_error,
        } = outbox.stored(destination);
        (status, retry, last_error.unwrap_or_default())
    };
    let none = String::new;
    assert_eq!(of(&mut outbox, "sent"), (2, 0, none()));
    assert_eq!(of(&mut outbox, "refused-twice").0, 2);
    assert_eq!(of(&mut outbox, "refused-twice").1, 2);
    assert_eq!(of(&mut outbox, "not-sent"), (2, 0, none()), "no attempt");
    assert_eq!(of(&mut outbox, "unknown"), (2, 0, none()), "no attempt");
    let parked = [
        ("refused-always", 3, "no, 3"),
        ("unsendable", 1, "cannot be"),
        ("no-such-function", 1, "no such function"),
    ];
    for (destination, retry, reason) in parked {
        assert_eq!(of(&mut outbox, destination), (-1, retry, reason.to_owned()));
    }
    assert_eq!(outbox.forgotten.lock().unwrap().len(), 3);
    let attempts = attempts.lock().unwrap();
    let counts = destinations.map(|it| attempts.get(it).copied().unwrap_or_default());
    assert_eq!(counts, [1, 3, 3, 1, 0, 4, 4]);
}

#[tokio::test]
async fn a_poll_that_becomes_due_during_a_turn_of_the_loop_is_made() {
    // Shorter than the poll interval, and longer than half of it: the poll is not due when the engine checks,
    // and due when it begins to wait.
    let mut outbox = Outbox::new(|config| config.set("poll_interval", "30ms"));
    outbox.delay = Duration::from_millis(20);
    let running = outbox.start(|_| Outcome::Sent);
    for body in 0..3 {
        // The engine has nothing to do but to poll.
        tokio::time::sleep(Duration::from_millis(300)).await;
        outbox.write("function", None, body);
        let sent = i64::from(body) + 1;
        outbox
            .wait_until("the row is sent", |outbox| {
                outbox.count("status = 2") == sent
            })
            .await;
    }
    outbox.shutdown.stop();
    assert_eq!(running.await.unwrap().sent, 3);
}

#[tokio::test]
async fn keys_stay_in_order_across_failures() {
    const ROWS: i32 = 40;
    let keys = ["a", "b", "c"];
    let mut outbox = Outbox::new(|config| {
        let config = config.set("window", 8).set("chunk_size", 16);
        config.set("breaker_failures", 0)
    });
    outbox.conn.batch_execute("begin").unwrap();
    for body in 0..ROWS {
        for key in keys {
            outbox.write("function", Some(key), body);
        }
        outbox.write("function", None, body);
    }
    outbox.conn.batch_execute("commit").unwrap();
    let sent: Arc<Mutex<Vec<Arrival>>> = Arc::default();
    let (seen, mut calls) = (Arc::clone(&sent), 0_u32);
    let running = outbox.start(move |row| {
        calls += 1;
        // A third of the attempts end in another way.
        let outcome = match calls % 12 {
            3 => Outcome::Refused("no".to_owned()),
            6 => not_sent(),
            // The row arrived, but the result is unknown.
            9 => Outcome::Unknown,
            11 => Outcome::NotSent { is_cut_off: false },
            _ => Outcome::Sent,
        };
        if matches!(outcome, Outcome::Sent | Outcome::Unknown) {
            let body = String::from_utf8(row.body.to_vec()).unwrap();
            let row = (row.key().map(str::to_owned), body.parse().unwrap());
            seen.lock().unwrap().push(row);
        }
        outcome
    });
    outbox
        .wait_until("all rows are sent", |outbox| {
            outbox.count("status = 2") == i64::from(ROWS) * 4
        })
        .await;
    outbox.shutdown.stop();
    running.await.unwrap();
    let sent = sent.lock().unwrap();
    for key in keys {
        // What is sent again follows its own first time; nothing is sent before an earlier row.
        let mut known = HashSet::new();
        let of_key = sent.iter().filter(|(of, _)| of.as_deref() == Some(key));
        let first: Vec<i32> = of_key
            .map(|(_, body)| *body)
            .filter(|body| known.insert(*body))
            .collect();
        assert!(first.iter().copied().eq(0..ROWS), "{key}: {first:?}");
    }
}

#[tokio::test]
async fn a_circuit_opens_and_closes_and_others_go_on() {
    let mut outbox = Outbox::new(|config| {
        let config = config.set("breaker_failures", 3).set("breaker_pause", "2s");
        config.set("retry_attempts", 1_000).set("window", 4)
    });
    for body in 0..20 {
        outbox.write("broken", None, body);
        outbox.write("works", None, body);
    }
    let (mend, mended) = watch::channel(false);
    let began = std::time::Instant::now();
    let running = outbox.start(move |row| {
        if row.claimed.destination == "broken" && !*mended.borrow() {
            return Outcome::Refused("broken".to_owned());
        }
        Outcome::Sent
    });
    outbox
        .wait_until("the circuit opens and others are sent", |outbox| {
            let status = outbox.monitor.status();
            status.open_circuits == ["broken"]
                && outbox.count("destination = 'works' and status = 2") == 20
        })
        .await;
    assert_eq!(outbox.count("destination = 'broken' and status = 2"), 0);
    assert_eq!(outbox.monitor.status().last_error.unwrap().text, "broken");
    // Those in flight when it opened, some others at once, and some after each pause.
    let (failed, pauses) = (outbox.monitor.stats().failed, began.elapsed().as_secs() / 2);
    assert!(
        failed <= 12 + 6 * pauses,
        "{failed} attempts in {pauses} pauses"
    );
    mend.send_replace(true);
    outbox
        .wait_until("the circuit closes", |outbox| {
            outbox.count("status = 2") == 40 && outbox.monitor.status().open_circuit_count == 0
        })
        .await;
    outbox.shutdown.stop();
    assert_eq!(running.await.unwrap().sent, 40);
}

#[tokio::test]
async fn a_stop_settles_what_is_in_flight_and_releases_the_rest() {
    let mut outbox = Outbox::new(|config| config.set("window", 4).set("chunk_size", 20));
    for body in 0..10 {
        outbox.write("function", Some("k"), body);
    }
    outbox.goes_on.send_replace(false);
    let running = outbox.start(|_| Outcome::Sent);
    outbox
        .wait_until("four are in flight, and six wait", |outbox| {
            let status = outbox.monitor.status();
            (status.in_flight, status.backlog) == (4, 6)
        })
        .await;
    assert_eq!(outbox.count("lease_token is not null"), 10);
    outbox.shutdown.stop();
    outbox
        .wait_until("the rest is released", |outbox| {
            outbox.count("lease_token is not null") == 4
        })
        .await;
    assert!(!running.is_finished(), "it waits for those in flight");
    outbox.goes_on.send_replace(true);
    let stats = tokio::time::timeout(PATIENCE, running).await;
    assert_eq!(stats.unwrap().unwrap().sent, 4);
    assert_eq!(outbox.count("status = 2 and seq <= 4"), 4);
    let released = "status = 1 and lease_token is null and retry = 0";
    assert_eq!(outbox.count(released), 6);
    assert_eq!(outbox.count("lease_token is not null"), 0);
}

#[tokio::test]
async fn a_delivery_that_is_not_ready_keeps_no_row_from_others() {
    let mut outbox = Outbox::new(|config| config.set("window", 1).set("chunk_size", 20));
    for body in 0..10 {
        outbox.write("function", None, body);
    }
    outbox.is_ready.send_replace(false);
    outbox.goes_on.send_replace(false);
    let running = outbox.start(|_| Outcome::Sent);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        outbox.count("lease_token is not null"),
        0,
        "none is claimed"
    );
    outbox.is_ready.send_replace(true);
    outbox
        .wait_until("all are claimed", |outbox| {
            let status = outbox.monitor.status();
            (status.in_flight, status.backlog) == (1, 9)
        })
        .await;
    assert_eq!(outbox.count("lease_token is not null"), 10);
    outbox.is_ready.send_replace(false);
    outbox.goes_on.send_replace(true);
    outbox
        .wait_until("all but the one in flight are released", |outbox| {
            outbox.count("status = 2") == 1 && outbox.count("lease_token is not null") == 0
        })
        .await;
    assert_eq!(outbox.count("status = 1"), 9);
    outbox.is_ready.send_replace(true);
    outbox
        .wait_until("all are sent", |outbox| outbox.count("status = 2") == 10)
        .await;
    outbox.shutdown.stop();
    assert_eq!(running.await.unwrap().sent, 10);
}
