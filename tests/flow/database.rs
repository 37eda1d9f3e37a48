//! Faults between the programs and a database server.
#![cfg_attr(not(feature = "postgres"), allow(unused_imports))] // one case is for PostgreSQL only

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel_outbox::config::Builder;
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry, Shutdown};

use crate::faults::Running;
use crate::log::Log;
use crate::place::{Place, Subject, next, wait_until};
use crate::support::network::{Mode, Network};

fn through(place: &Place, network: &Network) -> Builder {
    place
        .settings()
        .set("database_url", network.address_for(place.database_url()))
        .set("database_timeout", "300ms")
        .set("maximum_backoff", "1s")
        // The server may make a claim after its connection was closed.
        .set("receipt_timeout", "3s")
        .set("lease", "5s")
}

fn write<C: Subject>(place: &Place, rows: i64) {
    write_on(&mut place.connect::<C>(), place, rows);
}

fn write_on<C: Subject>(conn: &mut C, place: &Place, rows: i64) {
    for n in 0..rows {
        Message::new(place.topic(), n).publish(conn).unwrap();
    }
}

pub(crate) fn a_relay_outlives_its_database<C: Subject>(place: &Place) {
    let network = Network::to(place.database_url());
    network.set(Mode::Away);
    write::<C>(place, 20);
    let relay = Running::start::<C>(through(place, &network));
    network.set(Mode::Well);
    wait_until("all is sent", || place.counts::<C>().sent == 20);
    for round in 1..=3 {
        write::<C>(place, 20);
        network.set(Mode::Away);
        network.set(Mode::Well);
        wait_until("all is sent", || {
            place.counts::<C>().sent == 20 + round * 20
        });
    }
    // Receipts that arrive while the database is away are settled when it is back.
    let broker = place.loopback();
    let before = broker.view(|view| view.sent().len());
    write::<C>(place, 200);
    assert!(broker.wait_for(std::time::Duration::from_secs(20), |view| {
        view.sent().len() > before
    }));
    network.set(Mode::Away);
    network.set(Mode::Well);
    wait_until("all is settled", || place.counts::<C>().sent == 280);
    relay.stop();
    assert_eq!(place.counts::<C>().parked, 0);
}

pub(crate) fn a_lost_database_is_not_the_messages_fault<C: Subject>(place: &Place) {
    let network = Arc::new(Network::to(place.database_url()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (shut, counted) = (Arc::clone(&network), Arc::clone(&calls));
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            // The connection is lost in the middle of four calls, more than the maximum number of attempts.
            if counted.fetch_add(1, Ordering::SeqCst) < 4 {
                shut.set(Mode::Away);
                shut.set(Mode::Well);
            }
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    place.declare::<C>();
    let config = through(place, &network).build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &config);
    place.send(Message::new(place.topic(), 1));
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("the effect", || effects() == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

/// While the database is away, the count of a redelivery cannot be undone, and
/// if the connection to the broker is lost as well, the message cannot be retried. It is not taken
/// for a message that kills its process.
pub(crate) fn an_attempt_that_lost_everything_is_not_counted<C: Subject>(place: &Place) {
    const LOSSES: usize = 4;
    let broker = place.loopback();
    let network = Arc::new(Network::to(place.database_url()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (shut, counted) = (Arc::clone(&network), Arc::clone(&calls));
    let (called, calling) = std::sync::mpsc::channel();
    let (cut, wait) = std::sync::mpsc::channel();
    let both = std::sync::Mutex::new((called, wait));
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if counted.fetch_add(1, Ordering::SeqCst) < LOSSES {
                shut.set(Mode::Away);
                let both = both.lock().unwrap();
                both.0.send(()).unwrap();
                // Until the broker's connection is lost as well.
                let () = both.1.recv().unwrap();
            }
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    place.declare::<C>();
    let config = through(place, &network).set("delivery_limit", 1);
    let (consumer, log) = place.subscribe_logged(&registry, &config.build().unwrap());
    place.send(Message::new(place.topic(), 1));
    for _ in 0..LOSSES {
        next(&calling);
        let logins = broker.view(|view| view.logins());
        broker.disconnect_all();
        assert!(broker.wait_for(std::time::Duration::from_secs(20), |view| {
            view.logins() > logins && view.unacknowledged(&place.name) == 1
        }));
        let failures = || log.outages("");
        let before = failures();
        cut.send(()).unwrap();
        wait_until("it has failed", || failures() > before);
        network.set(Mode::Well);
    }
    let mut conn = place.connect::<C>();
    wait_until("the effect", || {
        conn.number("select count(*) from effects") == 1
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    assert_eq!(conn.number("select count(*) from outbox_deliveries"), 0);
    assert_eq!(calls.load(Ordering::SeqCst), LOSSES + 1);
}

/// The number of sessions on the place's database, except the caller's.
fn others<C: Subject>() -> &'static str {
    if C::NAME == "PostgreSQL" {
        "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    } else {
        "from information_schema.processlist where db = database() and id <> connection_id()"
    }
}

/// Closes all connections to the place's database, as a server does with idle connections. A pool may still be
/// opening its first ones: they are closed as they come.
fn close_all<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let count = format!("select count(*) {}", others::<C>());
    wait_until("they are gone", || {
        kill_all(&mut conn);
        C::NAME == "PostgreSQL" || conn.number(&count) == 0
    });
}

/// Closes those that are there now, while a program opens new ones.
fn kill_all<C: Subject>(conn: &mut C) {
    let others = others::<C>();
    if C::NAME == "PostgreSQL" {
        conn.number(&format!(
            "select count(pg_terminate_backend(pid, 20000)) {others}"
        ));
        return;
    }
    let ids = conn.text(&format!("select group_concat(id) {others}"));
    for id in ids.iter().flat_map(|ids| ids.split(',')) {
        // It may have ended by itself.
        let _ = conn.batch_execute(&format!("kill {id}"));
    }
}

pub(crate) fn an_external_callback_runs_once_though_its_connections_are_closed<C: Subject>(
    place: &Place,
) {
    let (call, calls) = std::sync::mpsc::channel();
    let (close, closed) = std::sync::mpsc::channel::<()>();
    let (call, closed) = (std::sync::Mutex::new(call), std::sync::Mutex::new(closed));
    let registry = Registry::<C>::new().on_external("it", move |_| {
        call.lock().unwrap().send(()).unwrap();
        let () = closed.lock().unwrap().recv().unwrap();
        std::future::ready(Outcome::Done)
    });
    place.declare::<C>();
    let consumer = place.subscribe(&registry);
    for n in 1..=2 {
        place.send(Message::new(place.topic(), n));
        next(&calls);
        close_all::<C>(place);
        close.send(()).unwrap();
        wait_until("it is remembered", || place.counts::<C>().received == n);
    }
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (2, 0));
    assert!(
        calls.try_recv().is_err(),
        "it has run once for each message"
    );
}

pub(crate) fn what_is_done_is_kept_until_the_database_is_back<C: Subject>(place: &Place) {
    let network = Arc::new(Network::to(place.database_url()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (shut, counted) = (Arc::clone(&network), Arc::clone(&calls));
    let registry = Registry::<C>::new().on_external("it", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        shut.set(Mode::Away);
        std::future::ready(Outcome::Done)
    });
    place.declare::<C>();
    let config = through(place, &network).build().unwrap();
    let (consumer, log) = place.subscribe_logged(&registry, &config);
    let broker = place.loopback();
    place.send(Message::new(place.topic(), 1));
    wait_until("it cannot be remembered", || {
        log.count("is not available yet") > 0
    });
    // Another connection to the broker does not make it run again either.
    let logins = broker.view(|view| view.logins());
    broker.disconnect_all();
    assert!(broker.wait_for(std::time::Duration::from_secs(20), |view| {
        view.logins() > logins && view.unacknowledged(&place.name) == 1
    }));
    network.set(Mode::Well);
    wait_until("it is remembered", || place.counts::<C>().received == 1);
    wait_until("it is acknowledged", || {
        broker.view(|view| view.unacknowledged(&place.name) == 0)
    });
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates, handled.dead), (1, 1, 0));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// What cannot be recorded does not delay a shutdown request.
pub(crate) fn what_cannot_be_remembered_does_not_hold_up_a_stop<C: Subject>(place: &Place) {
    let network = Arc::new(Network::to(place.database_url()));
    let shut = Arc::clone(&network);
    let registry = Registry::<C>::new().on_external("it", move |_| {
        shut.set(Mode::Away);
        std::future::ready(Outcome::Done)
    });
    place.declare::<C>();
    let settings = through(place, &network).set("shutdown_timeout", "100ms");
    let log = crate::log::Log::default();
    let (shutdown, collected) = (Shutdown::new(), log.clone());
    let subscriber = Subscriber::<C>::new(
        &settings.build().unwrap(),
        &registry,
        "it",
        &place.topic(),
        None,
    )
    .unwrap();
    let signal = shutdown.clone();
    let consuming = std::thread::spawn(move || {
        let _guard = collected.collect(tracing::Level::DEBUG);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let outcome = runtime.block_on(subscriber.run(&signal));
        runtime.shutdown_background();
        outcome
    });
    place.send(Message::new(place.topic(), 1));
    wait_until("it cannot be remembered", || {
        log.count("is not available") > 0
    });
    shutdown.stop();
    assert!(consuming.join().unwrap().is_err());
    let broker = place.loopback();
    assert_eq!(broker.view(|view| view.unacknowledged(&place.name)), 0);
    assert_eq!(place.counts::<C>().received, 0, "it is delivered again");
}

pub(crate) fn a_connection_closed_while_idle_costs_no_attempt<C: Subject>(place: &Place) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |_: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Outcome::Done)
        },
    );
    place.declare::<C>();
    let (consumer, log) = place.subscribe_logged(&registry, &place.config());
    place.send(Message::new(place.topic(), 1));
    wait_until("the first is done", || place.counts::<C>().received == 1);
    let mut conn = place.connect::<C>();
    let idle = if C::NAME == "PostgreSQL" {
        "state_change < clock_timestamp() - interval '1100 ms'"
    } else if conn.is_mariadb() {
        "time_ms > 1100"
    } else {
        "time > 1"
    };
    let busy = format!("select count(*) {} and not ({idle})", others::<C>());
    wait_until("the connections are idle", || conn.number(&busy) == 0);
    close_all::<C>(place);
    place.send(Message::new(place.topic(), 2));
    wait_until("the second is done", || place.counts::<C>().received == 2);
    assert_eq!(consumer.stop().done, 2);
    assert_eq!(log.outages(""), 0, "{}", log.text());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A relay polls, so that it finds a closed connection before it was idle for long.
pub(crate) fn a_relay_whose_connections_are_closed_has_no_outage<C: Subject>(place: &Place) {
    let mut admin = place.connect::<C>();
    let (relay, log) = Running::logged::<C>(place.settings());
    for n in 1..=5 {
        write::<C>(place, 1);
        wait_until("it is sent", || place.counts::<C>().sent == n);
        kill_all(&mut admin);
    }
    write::<C>(place, 1);
    wait_until("the last is sent", || place.counts::<C>().sent == 6);
    relay.stop();
    assert_eq!(log.outages(""), 0, "{}", log.text());
}

/// PostgreSQL has aborted the transaction by then.
#[cfg(feature = "postgres")]
pub(crate) fn going_on_after_a_failed_statement_is_a_failure<C: Subject>(place: &Place) {
    let careless = |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
        let id = payload.msg_id();
        conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
        let _ = conn.batch_execute("select * from no_such_table");
        Ok(Outcome::Done)
    };
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let consumer = place.subscribe(&Registry::<C>::new().on("it", careless));
    place.send(Message::new(place.topic(), 1));
    next(&dead_letters);
    assert_eq!(consumer.stop().dead, 1);
    assert_eq!(place.counts::<C>().received, 0);
}

/// Enough that claims no longer begin at the first of them each time.
#[cfg(feature = "postgres")]
pub(crate) fn what_waits_behind_many_blocked_rows_is_sent<C: Subject>(place: &Place) {
    const BLOCKED: i64 = 60_000;
    let mut conn = place.connect::<C>();
    let id = Message::new("/queue/it", -1).key("k".to_owned());
    let id = id.publish(&mut conn).unwrap();
    conn.batch_execute("update published set status = -1, due_at = '9000-01-01'")
        .unwrap();
    conn.batch_execute(&format!(
        "insert into published (id, destination, body, key)
         select gen_random_uuid(), '/queue/it', to_jsonb(n), 'k' from generate_series(1, {BLOCKED}) n;
         analyze published"
    ))
    .unwrap();
    write::<C>(place, 1_000);
    let relay = Running::start::<C>(place.settings().set("chunk_size", 100));
    wait_until("the rows without a key are sent", || {
        place.counts::<C>().sent == 1_000
    });
    // One that is written while claims begin further on, and one with an earlier number.
    write::<C>(place, 1);
    conn.batch_execute("update published set key = null where body = to_jsonb(7)")
        .unwrap();
    wait_until("the late ones are sent", || {
        place.counts::<C>().sent == 1_002
    });
    assert_eq!(place.counts::<C>().waiting, BLOCKED - 1);
    conn.batch_execute("delete from published where key is not null and body::text::int > 500")
        .unwrap();
    assert_eq!(diesel_outbox::admin::skip(&mut conn, [id]).unwrap().rows, 1);
    wait_until("what was blocked is sent", || {
        place.counts::<C>().waiting == 0
    });
    relay.stop();
    place.loopback().view(|view| {
        let sent = view
            .sent()
            .iter()
            .filter(|sent| sent.destination == "/queue/it");
        let bodies = sent.map(|sent| serde_json::from_slice(&sent.body).unwrap());
        let (seventh, others): (Vec<i64>, Vec<i64>) = bodies.partition(|n: &i64| *n == 7);
        assert_eq!(seventh.len(), 1);
        assert!(
            others.iter().copied().eq((1..=500).filter(|n| *n != 7)),
            "{others:?}"
        );
    });
}

/// Law 2: also while frames wait for a broker that does not read, and a callback for a web server.
#[cfg(feature = "postgres")]
pub(crate) fn no_transaction_waits_for_the_broker<C: Subject>(place: &Place) {
    let broker = place.loopback();
    place.declare::<C>();
    let (calling, called) = std::sync::mpsc::channel();
    let calling = std::sync::Mutex::new(calling);
    let registry = Registry::<C>::new().on_external("it", move |_| {
        calling.lock().unwrap().send(()).unwrap();
        std::future::pending::<Outcome>()
    });
    let settings = place.settings().set("shutdown_timeout", "100ms");
    let subscriber = Subscriber::<C>::new(
        &settings.build().unwrap(),
        &registry,
        "it",
        &place.topic(),
        None,
    )
    .unwrap();
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let consuming = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(subscriber.run(&signal))
    });
    place.send(Message::new(place.topic(), 1));
    next(&called);
    let relay = Running::start::<C>(place.settings());
    write::<C>(place, 10);
    wait_until("the relay is at work", || place.counts::<C>().sent == 10);
    broker.stall(true);
    write::<C>(place, 1_000);
    let mut conn = place.connect::<C>();
    wait_until("rows are under way", || {
        conn.number("select count(*) from published where lease_token is not null") > 0
    });
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
            and state like 'idle in transaction%'";
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(conn.number(open), 0, "a transaction is open");
    }
    broker.stall(false);
    wait_until("all is sent", || place.counts::<C>().sent == 1_010);
    relay.stop();
    shutdown.stop();
    assert!(
        consuming.join().unwrap().is_err(),
        "its callback never ends"
    );
}

/// Sessions that were opened while the database was read-only stay so, like those to a former primary.
#[cfg(feature = "postgres")]
pub(crate) fn a_former_primary_is_left<C: Subject>(place: &Place) {
    let (_, name) = place.database_url().rsplit_once('/').unwrap();
    place.declare::<C>();
    let mut admin = place.connect::<C>();
    admin
        .batch_execute(&format!(
            "alter database {name} set default_transaction_read_only = on"
        ))
        .unwrap();
    write_on(&mut admin, place, 20);
    let registry = Registry::<C>::new().on(
        "it",
        |conn: &mut C, _: &Payload| -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    );
    let impatient = || place.settings().set("maximum_backoff", "1s");
    let (consumer, consumed) = place.subscribe_logged(&registry, &impatient().build().unwrap());
    place.send(Message::new(place.topic(), 1));
    let (relay, relayed) = Running::logged::<C>(impatient());
    let is_noticed = |log: &Log| log.count("is not available") > 0;
    wait_until("it is noticed", || {
        is_noticed(&consumed) && is_noticed(&relayed)
    });
    assert_eq!(place.counts::<C>().sent, 0);
    admin
        .batch_execute(&format!(
            "alter database {name} reset default_transaction_read_only"
        ))
        .unwrap();
    wait_until("all is sent and handled", || {
        place.counts::<C>().sent == 20 && admin.number("select count(*) from effects") == 21
    });
    relay.stop();
    assert_eq!(consumer.stop().dead, 0);
}
