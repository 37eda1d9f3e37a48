//! A relay and a subscriber on connections of a pool of the service.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_outbox::config::{Builder, Config};
use diesel_outbox::relay::{Relay, RelayError};
use diesel_outbox::subscriber::{SubscribeError, Subscriber};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};

use crate::consumer::Consumer;
use crate::faults::Running;
use crate::log::Log;
use crate::place::{Place, Subject, wait_until};
use crate::support::network::{Mode, Network};

/// Connections that a relay borrows, and that a subscriber with two workers borrows.
const RELAY: u32 = 4;
const SUBSCRIBER: u32 = 6;

type ServicePool<C> = Pool<ConnectionManager<C>>;

/// Gives sessions settings that are not those of a relay or a subscriber.
#[derive(Debug)]
struct OwnSettings;

impl<C: Subject> CustomizeConnection<C, diesel::r2d2::Error> for OwnSettings {
    fn on_acquire(&self, conn: &mut C) -> Result<(), diesel::r2d2::Error> {
        let is_mariadb = conn.is_mariadb();
        conn.batch_execute(match C::NAME {
            "PostgreSQL" => {
                "set statement_timeout = '71s'; set lock_timeout = '72s';
                 set idle_in_transaction_session_timeout = '73s'; set tcp_keepalives_idle = 74;
                 set default_transaction_isolation = 'repeatable read'"
            }
            "SQLite" => "pragma busy_timeout = 20001",
            _ if is_mariadb => {
                "set lc_messages = 'de_DE', wait_timeout = 701, innodb_lock_wait_timeout = 72,
                     lock_wait_timeout = 73, max_statement_time = 74, completion_type = 'CHAIN',
                     sql_select_limit = 7, sql_big_selects = 0, autocommit = 0;
                 set session transaction isolation level serializable"
            }
            _ => {
                "set lc_messages = 'de_DE', wait_timeout = 701, innodb_lock_wait_timeout = 72,
                     lock_wait_timeout = 73, max_execution_time = 74000, completion_type = 'CHAIN',
                     sql_select_limit = 7, sql_big_selects = 0, autocommit = 0;
                 set session transaction isolation level serializable"
            }
        })
        .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The settings of a session as a text.
fn settings<C: Subject>(conn: &mut C) -> String {
    let query = match C::NAME {
        "PostgreSQL" => {
            "select string_agg(name || '=' || current_setting(name), ' ')
             from unnest(array['lc_messages', 'default_transaction_isolation', 'statement_timeout',
                 'lock_timeout', 'idle_in_transaction_session_timeout', 'tcp_keepalives_idle',
                 'tcp_keepalives_interval', 'tcp_keepalives_count']) as name"
        }
        "SQLite" => "select timeout from pragma_busy_timeout",
        _ if conn.is_mariadb() => {
            "select concat_ws(' ', @@lc_messages, @@wait_timeout, @@innodb_lock_wait_timeout,
                 @@lock_wait_timeout, @@max_statement_time, @@tx_isolation, @@completion_type,
                 @@sql_select_limit, @@sql_big_selects, @@autocommit)"
        }
        _ => {
            "select concat_ws(' ', @@lc_messages, @@wait_timeout, @@innodb_lock_wait_timeout,
                 @@lock_wait_timeout, @@max_execution_time, @@transaction_isolation, @@completion_type,
                 @@sql_select_limit, @@sql_big_selects, @@autocommit)"
        }
    };
    conn.text(query).unwrap()
}

/// A pool at this address, which does not check its connections.
fn pool_at<C: Subject>(url: &str, size: u32) -> ServicePool<C> {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(10))
        .connection_customizer(Box::new(OwnSettings))
        .build(ConnectionManager::new(url))
        .unwrap()
}

fn pool<C: Subject>(place: &Place, size: u32) -> ServicePool<C> {
    pool_at(place.database_url(), size)
}

/// Settings without an address of the database.
fn builder(place: &Place) -> Builder {
    Config::builder()
        .set("stomp_url", place.broker_url())
        .set("queue_headers", "x-expires:600000")
        .set("callback_first_delay", "1ms")
        .set("callback_attempts", 2)
        .set("poll_interval", "20ms")
        .set("workers", 2)
        .set("database_timeout", "500ms")
        .set("statement_timeout", "5s")
        .set("maximum_backoff", "1s")
        .set("receipt_timeout", "3s")
        .set("lease", "5s")
}

fn relay_on<C: Subject>(place: &Place, pool: &ServicePool<C>) -> (Running, Log) {
    let config = builder(place).build().unwrap();
    Running::logged_of(Relay::with_pool(pool.clone(), &config).unwrap())
}

fn subscribe_on<C: Subject>(
    place: &Place,
    pool: &ServicePool<C>,
    registry: &Registry<C>,
) -> (Consumer, Log) {
    let config = builder(place).build().unwrap();
    let topic = place.topic();
    let subscriber =
        Subscriber::with_pool(pool.clone(), &config, registry, "it", &topic, None).unwrap();
    Consumer::logged_of(subscriber)
}

fn noting<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |conn: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    )
}

fn write<C: Subject>(place: &Place, rows: i64) {
    let mut conn = place.connect::<C>();
    for n in 0..rows {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
}

fn effects<C: Subject>(place: &Place) -> i64 {
    place.connect::<C>().number("select count(*) from effects")
}

/// All connections are back in the pool, with the service's settings.
fn assert_as_before<C: Subject>(pool: &ServicePool<C>, expected: &str) {
    wait_until("all connections are returned", || {
        let state = pool.state();
        state.connections == state.idle_connections
    });
    let count = pool.state().connections;
    assert!(count > 0, "some were returned alive");
    let mut all: Vec<_> = (0..count).map(|_| pool.get().unwrap()).collect();
    for conn in &mut all {
        assert_eq!(settings::<C>(conn), expected);
        assert!(!conn.is_broken());
    }
}

pub(crate) fn rows_are_sent_and_the_settings_restored<C: Subject>(place: &Place) {
    let pool = pool::<C>(place, RELAY);
    let before = settings::<C>(&mut pool.get().unwrap());
    write::<C>(place, 50);
    let (relay, log) = relay_on(place, &pool);
    wait_until("all is sent", || place.counts::<C>().sent == 50);
    assert_eq!(relay.stop().sent, 50);
    assert_eq!(log.count("WARN"), 0, "{}", log.text());
    assert_as_before(&pool, &before);
}

pub(crate) fn messages_are_handled_and_the_settings_restored<C: Subject>(place: &Place) {
    place.declare::<C>();
    let pool = pool::<C>(place, SUBSCRIBER);
    let before = settings::<C>(&mut pool.get().unwrap());
    let seen = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&seen);
    let registry = Registry::new().on(
        "it",
        move |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            *shown.lock().unwrap() = settings::<C>(conn);
            if *payload.body() == 13 {
                return Err("it fails".into());
            }
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    );
    let (consumer, log) = subscribe_on(place, &pool, &registry);
    for n in 0..20 {
        place.send(Message::new(place.topic(), n));
    }
    wait_until("the effects", || effects::<C>(place) == 19);
    wait_until("the dead letter", || log.count("no further attempt") > 0);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (19, 1), "{}", log.text());
    assert_ne!(*seen.lock().unwrap(), before, "a callback has our settings");
    assert_as_before(&pool, &before);
}

pub(crate) fn a_commit_wakes_a_relay_with_a_pool<C: Subject>(place: &Place) {
    let pool = pool::<C>(place, RELAY);
    let config = builder(place).set("poll_interval", "1m").build().unwrap();
    let relay = Relay::with_pool(pool.clone(), &config).unwrap();
    let (relay, log) = Running::logged_of(relay);
    wait_until("it is idle", || log.count("connected") > 0);
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    write::<C>(place, 1);
    wait_until("it is sent", || place.counts::<C>().sent == 1);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    relay.stop();
}

pub(crate) fn an_exhausted_pool_is_waited_for<C: Subject>(place: &Place) {
    place.declare::<C>();
    let pool = pool::<C>(place, RELAY + SUBSCRIBER);
    let mut service: Vec<_> = (0..RELAY + SUBSCRIBER)
        .map(|_| pool.get().unwrap())
        .collect();
    write::<C>(place, 5);
    let (relay, relayed) = relay_on(place, &pool);
    let (consumer, consumed) = subscribe_on(place, &pool, &noting());
    let is_waiting = |log: &Log| log.count("10 of 10 connections in use") > 0;
    wait_until("both wait", || {
        is_waiting(&relayed) && is_waiting(&consumed)
    });
    std::thread::sleep(Duration::from_secs(3));
    for log in [&relayed, &consumed] {
        assert_eq!(log.count("WARN"), 1, "it is logged once: {}", log.text());
    }
    service.clear();
    wait_until("all is handled", || effects::<C>(place) == 5);
    // And in the middle of the work.
    wait_until("it was borrowed", || pool.state().idle_connections > 0);
    while let Ok(conn) = pool.get_timeout(Duration::from_millis(50)) {
        service.push(conn);
    }
    write::<C>(place, 5);
    std::thread::sleep(Duration::from_secs(1));
    service.clear();
    wait_until("all is handled", || effects::<C>(place) == 10);
    assert_eq!(relay.stop().failed, 0);
    assert_eq!(consumer.stop().dead, 0);
    assert_eq!(place.counts::<C>().parked, 0);
}

pub(crate) fn a_pool_that_is_too_small_is_refused<C: Subject>(place: &Place) {
    let config = builder(place).build().unwrap();
    let refused = Relay::with_pool(pool::<C>(place, RELAY - 1), &config)
        .err()
        .unwrap();
    let RelayError::Pool(error) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((error.needed, error.max_size), (RELAY, RELAY - 1));
    assert!(
        refused.to_string().contains("at most 3 connections"),
        "{refused}"
    );
    let subscriber = |size| {
        let (pool, topic) = (pool::<C>(place, size), place.topic());
        Subscriber::with_pool(pool, &config, &noting(), "it", &topic, None)
    };
    let refused = subscriber(SUBSCRIBER - 1).err().unwrap();
    let SubscribeError::Pool(error) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((error.needed, error.max_size), (SUBSCRIBER, SUBSCRIBER - 1));
    assert!(subscriber(SUBSCRIBER).is_ok());
}

/// Ends all sessions of the case's database but this one.
fn kill_all<C: Subject>(conn: &mut C) {
    if C::NAME == "PostgreSQL" {
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        return conn.batch_execute(kill).unwrap();
    }
    let others = "select group_concat(id) from information_schema.processlist
        where db = database() and id <> connection_id()";
    for id in conn.text(others).unwrap_or_default().split(',') {
        // It may have ended by itself.
        let _ = conn.batch_execute(&format!("kill {id}"));
    }
}

pub(crate) fn killed_connections_are_replaced<C: Subject>(place: &Place) {
    let pool = pool::<C>(place, RELAY + 3);
    let before = settings::<C>(&mut pool.get().unwrap());
    let mut admin = place.connect::<C>();
    // Idle connections of the service, too.
    let service: Vec<_> = (0..RELAY + 3).map(|_| pool.get().unwrap()).collect();
    drop(service);
    // Long enough for a connection that is killed while it is made: the pool's next try is 400 ms later.
    let config = builder(place).set("database_timeout", "10s").build();
    let relay = Relay::with_pool(pool.clone(), &config.unwrap()).unwrap();
    let (relay, log) = Running::logged_of(relay);
    for round in 1..=5 {
        write::<C>(place, 10);
        wait_until("all is sent", || place.counts::<C>().sent == round * 10);
        kill_all(&mut admin);
    }
    write::<C>(place, 10);
    wait_until("all is sent", || place.counts::<C>().sent == 60);
    assert_eq!(relay.stop().failed, 0);
    assert_eq!(log.count("is not available"), 0, "{}", log.text());
    assert_as_before(&pool, &before);
}

pub(crate) fn a_lost_connection_is_not_the_messages_fault<C: Subject>(place: &Place) {
    place.declare::<C>();
    let network = Network::to(place.database_url());
    let pool = pool_at::<C>(&network.address_for(place.database_url()), SUBSCRIBER);
    let before = settings::<C>(&mut pool.get().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::new().on(
        "it",
        move |conn: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            // All connections are lost in the middle of four calls, more than the maximum number of attempts.
            if counted.fetch_add(1, Ordering::SeqCst) < 4 {
                network.cut();
            }
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    );
    let (consumer, log) = subscribe_on(place, &pool, &registry);
    place.send(Message::new(place.topic(), 1));
    wait_until("the effect", || effects::<C>(place) == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0), "{}", log.text());
    assert_eq!(calls.load(Ordering::SeqCst), 5);
    assert_as_before(&pool, &before);
}

/// The threads that wait keep their connections until those end; the service keeps the others.
pub(crate) fn a_silent_database_is_outlived<C: Subject>(place: &Place) {
    place.declare::<C>();
    let network = Network::to(place.database_url());
    let spare = 2;
    let pool = pool_at::<C>(
        &network.address_for(place.database_url()),
        RELAY + SUBSCRIBER + spare,
    );
    let config = || {
        builder(place)
            .set("statement_timeout", "500ms")
            .build()
            .unwrap()
    };
    let relay = Relay::with_pool(pool.clone(), &config()).unwrap();
    let (relay, relayed) = Running::logged_of(relay);
    let registry = noting();
    let topic = place.topic();
    let subscriber =
        Subscriber::with_pool(pool.clone(), &config(), &registry, "it", &topic, None).unwrap();
    let (consumer, consumed) = Consumer::logged_of(subscriber);
    write::<C>(place, 10);
    wait_until("all is handled", || effects::<C>(place) == 10);
    for round in 2..=3 {
        network.set(Mode::Stalled);
        write::<C>(place, 10);
        std::thread::sleep(Duration::from_secs(4));
        assert!(relayed.count("WARN") > 0, "{}", relayed.text());
        let state = pool.state();
        let in_use = state.connections - state.idle_connections;
        assert!(in_use <= RELAY + SUBSCRIBER, "{in_use} are borrowed");
        // As the system does with a connection whose peer does not answer.
        network.cut();
        network.set(Mode::Well);
        wait_until("all is handled", || effects::<C>(place) == round * 10);
    }
    network.set(Mode::Stalled);
    write::<C>(place, 10);
    let begun = Instant::now();
    relay.stop();
    assert_eq!(consumer.stop().dead, 0, "{}", consumed.text());
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    network.cut();
    wait_until("all connections are returned", || {
        let state = pool.state();
        state.connections == state.idle_connections
    });
}

/// Idle connections of the pool lead to a server that takes no writes any more.
pub(crate) fn a_pool_of_a_former_primary_is_left<C: Subject>(place: &Place) {
    let (_, name) = place.database_url().rsplit_once('/').unwrap();
    place.declare::<C>();
    let mut admin = place.connect::<C>();
    let mut alter = |change: &str| {
        let change = format!("alter database {name} {change}");
        admin.batch_execute(&change).unwrap();
    };
    alter("set default_transaction_read_only = on");
    let size = RELAY + SUBSCRIBER;
    let pool = pool::<C>(place, size);
    drop((0..size).map(|_| pool.get().unwrap()).collect::<Vec<_>>());
    alter("reset default_transaction_read_only");
    write::<C>(place, 5);
    let (relay, relayed) = relay_on(place, &pool);
    let (consumer, consumed) = subscribe_on(place, &pool, &noting());
    wait_until("all is handled", || effects::<C>(place) == 5);
    relay.stop();
    assert_eq!(consumer.stop().dead, 0);
    for log in [relayed, consumed] {
        assert_eq!(log.count("is not available"), 0, "{}", log.text());
    }
}
