//! A relay and a subscriber whose PostgreSQL is full, shuts down, crashes, is a
//! standby or refuses logins, on the test's own servers with German error texts, for a role that may not set
//! English.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::{Message, Outcome, Payload, Registry};
use rustix::process::Signal;

use crate::blame;
use crate::place::{Place, Subject, brokers, wait_until};
use crate::support::TestDatabase;
use crate::survivors::{Calls, Survivors};

/// A server for one test.
pub(crate) type Cluster = outbox_test_support::own::Cluster<PgConnection>;

pub(crate) fn place(database: TestDatabase) -> Place {
    let place = Place::new::<PgConnection>(database, brokers::loopback().unwrap());
    place.declare::<PgConnection>();
    place
}

/// The test's own connection to the database of the role `app`.
pub(crate) fn look(cluster: &Cluster) -> String {
    cluster.url("postgres", "app")
}

#[test]
fn a_standby_is_waited_for_until_it_is_promoted() {
    let mut primary = Cluster::start("");
    let place = place(primary.database());
    let mut conn = place.connect::<PgConnection>();
    for n in 0..10 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    drop(conn);
    // cannot_connect_now.
    let mut standby = primary.standby("hot_standby = off");
    let url = standby.url("app", "app");
    let mut both = Survivors::<PgConnection>::start(&place, &url, look(&standby)).with_rows(10);
    both.send();
    both.suffer("das Datenbanksystem nimmt keine Verbindungen an");
    standby.signal(Signal::INT);
    standby.wait();
    standby.configure("hot_standby = on");
    standby.run();
    // read_only_sql_transaction.
    both.suffer("kann nicht in einer Read-Only-Transaktion ausgeführt werden");
    primary.signal(Signal::QUIT);
    primary.wait();
    standby.promote();
    both.recover();
    both.write(5);
    both.recover();
    both.end();
}

/// A callback reads on a standby, which ends its query because the primary has locked the table.
#[test]
fn a_conflict_with_recovery_is_nobodys_fault() {
    let primary = Cluster::start("");
    let place = place(primary.database());
    place
        .connect::<PgConnection>()
        .batch_execute("create table stock (n int); insert into stock values (1)")
        .unwrap();
    let standby = primary.standby("max_standby_streaming_delay = 0");
    let (there, here) = (standby.url("app", "app"), place.database_url().to_owned());
    let reading = "select count(*) from pg_stat_activity
        where query like 'begin; select % from stock%' and state = 'active'";
    blame::endures::<PgConnection>(&place, move |_| {
        let mut reader = PgConnection::establish(&there)?;
        let (looking, writing) = (there.clone(), here.clone());
        let locking = std::thread::spawn(move || {
            let mut look = PgConnection::establish(&looking).unwrap();
            wait_until("it reads", || look.number(reading) == 1);
            let mut writer = PgConnection::establish(&writing).unwrap();
            writer
                .batch_execute("begin; lock table stock in access exclusive mode; commit")
                .unwrap();
        });
        let read = reader.batch_execute("begin; select * from stock; select pg_sleep(60)");
        locking.join().unwrap();
        let error = read.unwrap_err();
        assert!(error.to_string().contains("Konflikt"), "{error}");
        Err(error.into())
    });
}

/// Restarts, a crash, and a shutdown that waits for a session, each while a callback works.
#[test]
fn an_end_of_the_server_is_nobodys_fault() {
    let mut cluster = Cluster::start("");
    let place = place(cluster.database());
    let calls = Calls::default();
    let counted = calls.clone();
    let registry = Registry::<PgConnection>::new().on(
        "it",
        move |conn: &mut PgConnection,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            conn.batch_execute("insert into effects (note) values ('x')")?;
            // Callbacks of messages from the outbox do not sleep.
            if payload.body() == "sent" && counted.next().is_multiple_of(2) {
                conn.batch_execute("select pg_sleep(60)")?;
            }
            Ok(Outcome::Done)
        },
    );
    let (url, look) = (place.database_url().to_owned(), look(&cluster));
    let mut both = Survivors::start_with(&place, &url, look.clone(), &registry);
    let asleep = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)'";
    let ends = ["fast", "immediate", "crash", "smart"];
    for (round, how) in ends.iter().enumerate() {
        both.send();
        wait_until("a callback works", || both.number(asleep) == Some(1));
        let mut holder = PgConnection::establish(&look).unwrap();
        both.write(5);
        match *how {
            // admin_shutdown.
            "fast" => cluster.signal(Signal::INT),
            // crash_shutdown.
            "immediate" => cluster.signal(Signal::QUIT),
            // One process dies, and the server ends all others.
            "crash" => {
                let process = holder.number("select pg_backend_pid()");
                let process = rustix::process::Pid::from_raw(process as i32).unwrap();
                rustix::process::kill_process(process, Signal::KILL).unwrap();
            }
            // It accepts no logins any more, and waits for the open sessions.
            _ => {
                cluster.signal(Signal::TERM);
                holder.number(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where usename = 'app'",
                );
                both.suffer("das Datenbanksystem fährt herunter");
            }
        }
        drop(holder);
        if *how != "crash" {
            cluster.wait();
            cluster.run();
        }
        both.recover();
        assert_eq!(calls.so_far(), 2 * (round + 1), "{how}");
    }
    both.end();
}

#[test]
fn too_many_connections_are_nobodys_fault() {
    let cluster = Cluster::start("max_connections = 16\nsuperuser_reserved_connections = 3");
    let place = place(cluster.database());
    let (url, look) = (place.database_url().to_owned(), look(&cluster));
    // It is kept all the time.
    let mut admin = PgConnection::establish(&look).unwrap();
    let cut = "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity
        where usename = 'app'";
    admin
        .batch_execute("alter role app connection limit 0")
        .unwrap();
    admin.number(cut);
    // At the start, too.
    let mut both = Survivors::<PgConnection>::start(&place, &url, look.clone());
    both.send();
    both.suffer("zu viele Verbindungen von Rolle »app«");
    admin
        .batch_execute("alter role app connection limit -1")
        .unwrap();
    both.recover();
    admin
        .batch_execute("create role other login; grant connect on database app to other")
        .unwrap();
    for (role, words) in [
        ("other", "sind für Superuser"),
        ("postgres", "schon zu viele Verbindungen"),
    ] {
        both.write(5);
        // The programs would get their connections back before these are taken.
        admin
            .batch_execute("alter role app connection limit 0")
            .unwrap();
        admin.number(cut);
        let taken = take_all(&cluster.url(role, "app"));
        admin
            .batch_execute("alter role app connection limit -1")
            .unwrap();
        both.send();
        both.suffer(words);
        drop(taken);
        both.recover();
    }
    both.end();
}

/// Opens connections until no more are available, though others are returned.
fn take_all(url: &str) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        match PgConnection::establish(url) {
            Ok(conn) => taken.push(conn),
            Err(_) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    taken
}

/// A disk that is full for the outbox and for everything else in its database.
#[test]
fn a_full_disk_is_nobodys_fault() {
    let cluster = Cluster::with_small_disk();
    let place = place(cluster.database_with("tablespace small"));
    let (url, look) = (place.database_url().to_owned(), look(&cluster));
    let mut admin = PgConnection::establish(&look).unwrap();
    admin.batch_execute(FILLER).unwrap();
    let registry = Registry::<PgConnection>::new().on(
        "it",
        |conn: &mut PgConnection,
         _: &Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            conn.batch_execute(
                "insert into effects
                 select string_agg(md5(random()::text), '') from generate_series(1, 1000)",
            )?;
            Ok(Outcome::Done)
        },
    );
    let mut both = Survivors::start_with(&place, &url, look, &registry);
    // They become due when the disk is full: a claim writes each row again.
    both.write_delayed(300, Duration::from_secs(4));
    fill(&mut admin);
    both.send();
    both.suffer("nicht erweitern");
    admin.batch_execute("drop table filler").unwrap();
    both.recover();
    both.end();
}

const FILLER: &str = "\
create table filler (n int, t text) tablespace small;
alter table filler alter t set storage external";

/// Until there is no room for a single page. The files of a new database have holes until its pages are written:
/// with a full disk any statement could fail at one of them.
fn fill(conn: &mut PgConnection) {
    conn.batch_execute("checkpoint").unwrap();
    let mut bytes = 1 << 20;
    while bytes >= 1 << 12 {
        let row = format!("insert into filler values (1, repeat('x', {bytes}))");
        if let Err(error) = conn.batch_execute(&row) {
            let error = error.to_string();
            assert!(error.contains("nicht erweitern"), "{error}");
            bytes /= 2;
        }
    }
}

/// Only the callback's writes have no room: nothing else waits.
#[test]
fn a_full_tablespace_is_nobodys_fault_however_often() {
    let cluster = Cluster::with_small_disk();
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    admin.batch_execute(FILLER).unwrap();
    admin
        .batch_execute("create table small (t text) tablespace small; grant all on small to app")
        .unwrap();
    fill(&mut admin);
    blame::endures::<PgConnection>(&place, |conn| {
        conn.batch_execute(
            "insert into small select repeat('x', 1000) from generate_series(1, 100)",
        )?;
        Ok(())
    });
}
