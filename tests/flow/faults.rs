//! Faults between the relay, the subscriber and the broker, and what must work in spite of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel_outbox::config::Builder;
use diesel_outbox::relay::{Relay, RelayError, RelayStats};
use diesel_outbox::testing::LoopbackBroker;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry, Shutdown};

use crate::log::Log;
use crate::place::{Place, Subject, wait_until};
use crate::support::network::{Mode, Network};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running relay.
pub(crate) struct Running {
    shutdown: Shutdown,
    thread: std::thread::JoinHandle<Result<RelayStats, RelayError>>,
}

impl Running {
    pub(crate) fn start<C: Subject>(settings: Builder) -> Self {
        Self::start_with::<C, ()>(settings, || ())
    }

    /// Starts it on a thread that keeps the result of `prepare`.
    pub(crate) fn start_with<C: Subject, T>(
        settings: Builder,
        prepare: impl FnOnce() -> T + Send + 'static,
    ) -> Self {
        let relay = Relay::<C>::new(&settings.build().unwrap()).unwrap();
        let shutdown = Shutdown::new();
        let signal = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let _held = prepare();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(relay.run(&signal))
        });
        Self { shutdown, thread }
    }

    /// The same, with access to its log.
    pub(crate) fn logged<C: Subject>(settings: Builder) -> (Self, Log) {
        Self::logged_of(Relay::<C>::new(&settings.build().unwrap()).unwrap())
    }

    /// Runs this relay, with access to its log.
    pub(crate) fn logged_of<C: Subject>(relay: Relay<C>) -> (Self, Log) {
        let (shutdown, log) = (Shutdown::new(), Log::default());
        let (signal, collected) = (shutdown.clone(), log.clone());
        let thread = std::thread::spawn(move || {
            let _guard = collected.collect(tracing::Level::DEBUG);
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(relay.run(&signal))
        });
        (Self { shutdown, thread }, log)
    }

    pub(crate) fn stop(self) -> RelayStats {
        self.shutdown.stop();
        self.thread.join().unwrap().unwrap()
    }
}

fn relay<C: Subject>(place: &Place) -> Running {
    Running::start::<C>(impatient(place))
}

/// Settings that keep the test short.
fn impatient(place: &Place) -> Builder {
    place
        .settings()
        .set("receipt_timeout", "500ms")
        .set("lease", "5s")
        .set("retry_first_delay", "50ms")
        .set("retry_maximum_delay", "50ms")
        .set("retry_attempts", 3)
        .set("breaker_pause", "50ms")
        .set("maximum_backoff", "1s")
}

fn write<C: Subject>(place: &Place, rows: usize, key: impl Fn(usize) -> Option<String>) {
    let mut conn = place.connect::<C>();
    conn.transaction::<(), BoxError, _>(|conn| {
        for n in 0..rows {
            Message::new(place.topic(), n).key(key(n)).publish(conn)?;
        }
        Ok(())
    })
    .unwrap();
}

fn all_sent<C: Subject>(place: &Place, rows: i64) {
    wait_until("all is sent", || place.counts::<C>().sent == rows);
}

fn blamed<C: Subject>(place: &Place) -> i64 {
    place
        .connect::<C>()
        .number("select count(*) from published where retry > 0 or status = -1")
}

/// How often each row reached the broker, and whether each key's rows first arrived in their order.
fn arrivals(broker: &LoopbackBroker) -> usize {
    broker.view(|view| {
        let mut seen = HashSet::new();
        let mut last = HashMap::new();
        for sent in view.sent() {
            let n: i64 = std::str::from_utf8(&sent.body).unwrap().parse().unwrap();
            if !seen.insert(n) {
                continue;
            }
            // Rows with the same remainder have the same key in these tests.
            let before = last.insert(n % KEYS, n).unwrap_or(-1);
            assert!(before < n, "{n} after {before}");
        }
        view.sent().len() - seen.len()
    })
}

const KEYS: i64 = 5;

fn keyed(n: usize) -> Option<String> {
    Some(format!("k{}", n as i64 % KEYS))
}

pub(crate) fn without_its_receipt_no_row_is_settled<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.withhold_receipts(true);
    write::<C>(place, 20, keyed);
    let relay = relay::<C>(place);
    // Abandoned and retried on another connection.
    assert!(broker.wait_for(PATIENCE, |view| view.logins() >= 2
        && view.sent().len() >= 2));
    assert_eq!(place.counts::<C>().sent, 0);
    broker.clear_faults();
    all_sent::<C>(place, 20);
    assert_eq!(blamed::<C>(place), 0, "a missing receipt is nobody's fault");
    relay.stop();
    arrivals(broker);
}

pub(crate) fn a_row_that_is_refused_by_name_fails_alone<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.reject_sends_to("/queue/rejected");
    let mut conn = place.connect::<C>();
    let key = || Some("k".to_owned());
    Message::new("/queue/rejected", 0)
        .key(key())
        .publish(&mut conn)
        .unwrap();
    Message::new(place.topic(), 1)
        .key(key())
        .publish(&mut conn)
        .unwrap();
    write::<C>(place, 50, |_| None);
    let relay = relay::<C>(place);
    wait_until("it is parked", || place.counts::<C>().parked == 1);
    all_sent::<C>(place, 50);
    assert_eq!(broker.view(|view| view.logins()), 1, "on one connection");
    let reason = conn.text("select last_error from published where status = -1");
    assert!(reason.unwrap().contains("rejected on demand"));
    let retries = conn.number("select retry from published where status = -1");
    assert_eq!(retries, 3);
    assert_eq!(place.counts::<C>().waiting, 1, "the next of its key waits");
    broker.clear_faults();
    let id = conn
        .text("select id from published where status = -1")
        .unwrap();
    assert_eq!(
        diesel_outbox::admin::retry(&mut conn, [id]).unwrap().rows,
        1
    );
    all_sent::<C>(place, 52);
    relay.stop();
}

pub(crate) fn a_row_at_which_the_broker_closes_fails_alone<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.close_on_send_to("/queue/poison");
    write::<C>(place, 30, |_| None);
    let mut conn = place.connect::<C>();
    Message::new("/queue/poison", 0).publish(&mut conn).unwrap();
    Message::new("/queue/poison", 0).publish(&mut conn).unwrap();
    write::<C>(place, 30, |_| None);
    let relay = relay::<C>(place);
    wait_until("both are parked", || place.counts::<C>().parked == 2);
    all_sent::<C>(place, 60);
    assert_eq!(blamed::<C>(place), 2, "and nobody else");
    relay.stop();
}

pub(crate) fn while_the_broker_is_away_rows_wait<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.shut_down();
    write::<C>(place, 20, keyed);
    let relay = relay::<C>(place);
    broker.restart().unwrap();
    all_sent::<C>(place, 20);
    for round in 1..=3 {
        broker.shut_down();
        write::<C>(place, 20, keyed);
        broker.restart().unwrap();
        all_sent::<C>(place, 20 + round * 20);
    }
    assert_eq!(blamed::<C>(place), 0);
    relay.stop();
}

pub(crate) fn a_stalled_broker_is_waited_for<C: Subject>(place: &Place) {
    let broker = place.loopback();
    write::<C>(place, 10, keyed);
    let relay = relay::<C>(place);
    all_sent::<C>(place, 10);
    broker.stall(true);
    write::<C>(place, 10, keyed);
    wait_until("rows are under way", || place.counts::<C>().not_due > 0);
    wait_until("and are given back", || place.counts::<C>().not_due == 0);
    broker.stall(false);
    all_sent::<C>(place, 20);
    assert_eq!(blamed::<C>(place), 0);
    relay.stop();
}

pub(crate) fn cut_connections_lose_nothing_and_keep_the_order<C: Subject>(place: &Place) {
    let broker = place.loopback();
    write::<C>(place, 600, keyed);
    broker.disconnect_after(50);
    let relay = relay::<C>(place);
    for _ in 0..4 {
        let before = broker.view(|view| view.logins());
        let next = broker.view(|view| view.sent().len()) + 30;
        assert!(broker.wait_for(PATIENCE, |view| view.sent().len() >= next));
        broker.disconnect_all();
        assert!(broker.wait_for(PATIENCE, |view| view.logins() > before));
    }
    all_sent::<C>(place, 600);
    assert_eq!(blamed::<C>(place), 0, "a cut is nobody's fault");
    relay.stop();
    let repeated = arrivals(broker);
    assert!(repeated <= 5 * 2 * 128, "{repeated}");
}

pub(crate) fn several_relays_share_the_work<C: Subject>(place: &Place) {
    let broker = place.loopback();
    write::<C>(place, 1_000, keyed);
    let relays: Vec<Running> = (0..3)
        .map(|_| Running::start::<C>(impatient(place).set("chunk_size", 7)))
        .collect();
    all_sent::<C>(place, 1_000);
    let sent: u64 = relays.into_iter().map(|relay| relay.stop().sent).sum();
    assert_eq!(sent, 1_000);
    assert_eq!(arrivals(broker), 0, "no row twice");
}

/// Each waits for its receipts as long as a lease is for a few rows: the rest of a chunk when its
/// lease ends goes to the other one.
pub(crate) fn nothing_is_sent_after_the_end_of_a_lease<C: Subject>(place: &Place) {
    const ROWS: usize = 60;
    let broker = place.loopback();
    let network = Network::to(place.broker_url());
    network.set(Mode::Slow(Duration::from_millis(100)));
    write::<C>(place, ROWS, |_| None);
    let relays: Vec<Running> = (0..2)
        .map(|_| {
            let settings = place.settings().set("window", 1).set("chunk_size", ROWS);
            let settings = settings.set("lease", "1s").set("receipt_timeout", "900ms");
            Running::start::<C>(settings.set("stomp_url", network.address_for(place.broker_url())))
        })
        .collect();
    all_sent::<C>(place, ROWS as i64);
    for relay in relays {
        relay.stop();
    }
    // At the end of each lease one row may be in flight.
    let repeated = broker.view(|view| view.sent().len()) - ROWS;
    assert!(repeated <= 15, "{repeated}");
}

pub(crate) fn a_refused_login_ends_the_relay_at_the_start_only<C: Subject>(place: &Place) {
    let broker = place.loopback();
    broker.refuse_logins(true);
    let refused = Running::start::<C>(impatient(place));
    let error = refused.thread.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("check the user"), "{error}");
    broker.refuse_logins(false);
    write::<C>(place, 1, keyed);
    let relay = relay::<C>(place);
    all_sent::<C>(place, 1);
    broker.refuse_logins(true);
    broker.disconnect_all();
    write::<C>(place, 1, keyed);
    broker.refuse_logins(false);
    all_sent::<C>(place, 2);
    relay.stop();
}

pub(crate) fn a_subscriber_outlives_its_broker<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let config = place.settings().set("maximum_backoff", "1s").build();
    let consumer = place.subscribe_with(&registry, "it", &config.unwrap());
    write::<C>(place, 300, keyed);
    let relay = relay::<C>(place);
    for round in 1..=3 {
        wait_until("effects", || calls.load(Ordering::SeqCst) >= round * 20);
        if round == 3 {
            broker.disconnect_all();
        } else {
            broker.shut_down();
            broker.restart().unwrap();
        }
    }
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("all effects", || effects() >= 300);
    all_sent::<C>(place, 300);
    relay.stop();
    consumer.stop();
    assert_eq!(effects(), 300);
    let different = place
        .connect::<C>()
        .number("select count(distinct note) from effects");
    assert_eq!(different, 300);
}

pub(crate) fn a_slow_callback_costs_no_heart_beat<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let before = broker.view(|view| view.logins());
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            // The thread is blocked for ten times what the broker would tolerate.
            let _ = wait
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_millis(1_500));
            Ok(Outcome::Done)
        },
    );
    let config = place
        .settings()
        .set("heartbeat_send", "50ms")
        .set("heartbeat_receive", "50ms")
        .build()
        .unwrap();
    let consumer = place.subscribe_with(&registry, "it", &config);
    place.send(Message::new(place.topic(), 1));
    wait_until("it is done", || place.counts::<C>().received == 1);
    drop(release);
    assert_eq!(consumer.stop().done, 1);
    // The subscriber's, its declaration of the dead-letter queue's, and the sender's.
    assert_eq!(broker.view(|view| view.logins()) - before, 3);
}

/// Deleted repeatedly, as by a faulty script.
pub(crate) fn a_deleted_queue_is_subscribed_to_again<C: Subject>(place: &Place) {
    const DELETIONS: usize = 3;
    let broker = place.loopback();
    place.declare::<C>();
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let config = place.settings().set("maximum_backoff", "1s").build();
    let (consumer, log) = place.subscribe_logged(&registry, &config.unwrap());
    let effects = || place.connect::<C>().number("select count(*) from effects");
    for deletion in 1..=DELETIONS {
        assert!(broker.wait_for(PATIENCE, |view| view.subscriptions(&place.name) == 1));
        place.send(Message::new(place.topic(), deletion));
        wait_until("its effect", || effects() == deletion as i64);
        broker.delete_queue(&place.name);
        wait_until("it is logged", || {
            log.count("the subscription is available again") == deletion
        });
    }
    place.send(Message::new(place.topic(), "last"));
    wait_until("the last effect", || effects() == DELETIONS as i64 + 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (DELETIONS as u64 + 1, 0));
    // Once for each, with the broker's reason; no other outage is reported.
    assert_eq!(log.count("WARN"), DELETIONS, "{}", log.text());
    assert_eq!(log.count("Server cancelled subscription"), DELETIONS);
}

/// A callback that runs when its queue is deleted has its effect, and the ACK is not sent to the next queue.
pub(crate) fn what_runs_when_its_queue_is_deleted_has_its_effect<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let (begin, begun) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let both = std::sync::Mutex::new((begin, wait));
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            {
                let both = both.lock().unwrap();
                both.0.send(()).unwrap();
                let _ = both.1.recv();
            }
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let config = place.settings().set("maximum_backoff", "1s").build();
    let (consumer, log) = place.subscribe_logged(&registry, &config.unwrap());
    place.send(Message::new(place.topic(), 1));
    crate::place::next(&begun);
    broker.delete_queue(&place.name);
    wait_until("it subscribes again", || {
        log.count("the subscription is available again") == 1
    });
    drop(go_on);
    place.send(Message::new(place.topic(), 2));
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("both effects", || effects() == 2);
    assert_eq!(consumer.stop().done, 2);
    broker.view(|view| assert_eq!(view.unacknowledged(&place.name), 0));
}
