//! Failures that the database causes, and failures of messages that only look like those.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel_outbox::subscriber::SubscriberStats;
use diesel_outbox::{BoxError, Outcome, Payload, Registry};

use crate::log::Log;
use crate::place::{Place, Subject, next, wait_until};

/// Handles messages by `act`: the first ones must go to the dead letters, and the `good` ones after them must not.
pub(crate) fn spoiled<C: Subject>(
    place: &Place,
    workers: usize,
    bad: &[&str],
    act: impl Fn(&mut C, &str) -> Result<(), BoxError> + Send + Sync + 'static,
) -> (SubscriberStats, Log) {
    const GOOD: i64 = 8;
    place.declare::<C>();
    let letters = place.dead_letters();
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              payload: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            let id = payload.msg_id();
            if !id.starts_with("good") {
                act(conn, id)?;
            }
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    for id in bad {
        place.send_raw(id, b"{}");
    }
    for n in 0..GOOD {
        place.send_raw(&format!("good {n}"), b"{}");
    }
    let config = place.settings().set("workers", workers).build().unwrap();
    let (consumer, log) = place.subscribe_logged(&registry, &config);
    for _ in bad {
        next(&letters);
    }
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("the good ones", || effects() == GOOD);
    let handled = consumer.stop();
    assert_eq!(handled.done, GOOD as u64);
    assert_eq!(handled.dead, bad.len() as u64);
    assert_eq!(log.count("is not available"), 0, "{}", log.text());
    // `tests/processes/programs.rs` looks for this text.
    assert_eq!(log.count("no further attempt"), bad.len());
    (handled, log)
}

/// The server's error quotes the content of the message.
pub(crate) fn words_of_a_message_are_no_outage<C: Subject>(place: &Place) {
    const WORDS: [&str; 3] = [
        "my dog has lost connection to his owner",
        "disk i/o error",
        "cannot execute: deadlock detected, database is locked",
    ];
    place
        .connect::<C>()
        .batch_execute("create table numbers (n integer)")
        .unwrap();
    spoiled::<C>(place, 4, &WORDS, |conn, words| {
        conn.batch_execute(&match C::NAME {
            "SQLite" => format!("select * from \"{words}\""),
            _ => format!("insert into numbers values ('{words}')"),
        })?;
        Ok(())
    });
}

/// The schema's own constraints may raise any text.
pub(crate) fn words_of_a_trigger_are_no_outage<C: Subject>(place: &Place) {
    const WORDS: [&str; 2] = [
        "cannot execute the transfer",
        "Lost connection to the customer",
    ];
    spoiled::<C>(place, 1, &WORDS, |conn, words| {
        conn.batch_execute(&match C::NAME {
            "PostgreSQL" => format!("do $$ begin raise exception '{words}'; end $$"),
            _ => format!("signal sqlstate '45000' set message_text = '{words}'"),
        })?;
        Ok(())
    });
}

/// PostgreSQL has it from 17 on. It ends the session.
fn has_transaction_timeout<C: Subject>(place: &Place) -> bool {
    const VERSION: &str = "current_setting('server_version_num')";
    C::NAME == "PostgreSQL" && place.connect::<C>().number(VERSION) >= 170_000
}

/// For MySQL, whose `sleep` ends without an error at the limit of a statement's time.
const LONG_QUERY: &str = "select count(*) from information_schema.columns a, \
    information_schema.columns b, information_schema.columns c, information_schema.columns d";

/// It ends its own session, or sends something that makes the server end it.
pub(crate) fn who_loses_the_database_alone_has_failed<C: Subject>(place: &Place) {
    let bad: &[&str] = match C::NAME {
        "PostgreSQL" if has_transaction_timeout::<C>(place) => &[
            "ends its session",
            "takes too long",
            "has a transaction that takes too long",
        ],
        "PostgreSQL" => &["ends its session", "takes too long"],
        _ => &["ends its session", "takes too long", "sends too much"],
    };
    let (_, log) = spoiled::<C>(place, 1, bad, |conn, id| {
        let statement = match (C::NAME, id) {
            ("PostgreSQL", "takes too long") => {
                "set local statement_timeout = '20ms'; select pg_sleep(10)".to_owned()
            }
            ("PostgreSQL", "has a transaction that takes too long") => {
                "set local transaction_timeout = '20ms'; select pg_sleep(10)".to_owned()
            }
            (_, "takes too long") if conn.is_mariadb() => {
                "set max_statement_time = 0.02; select sleep(10)".to_owned()
            }
            (_, "takes too long") => format!("set max_execution_time = 20; {LONG_QUERY}"),
            ("PostgreSQL", _) => "select pg_terminate_backend(pg_backend_pid())".to_owned(),
            (_, "ends its session") => "kill connection_id()".to_owned(),
            // Longer than max_allowed_packet.
            _ => {
                let limit = conn.number("@@max_allowed_packet");
                let length = usize::try_from(limit).unwrap() + (1 << 20);
                format!("select length('{}')", "x".repeat(length))
            }
        };
        conn.batch_execute(&statement)?;
        Ok(())
    });
    assert!(log.count("a second connection worked all the time") >= 1);
}

#[cfg(feature = "postgres")]
pub(crate) fn too_many_values_are_the_messages_own<C: Subject>(place: &Place) {
    use diesel::RunQueryDsl;

    let (_, log) = spoiled::<C>(place, 1, &["many"], |conn, _| {
        let conn: &mut dyn std::any::Any = conn;
        let conn: &mut diesel::PgConnection = conn.downcast_mut().unwrap();
        let mut query = diesel::sql_query("select 1").into_boxed::<diesel::pg::Pg>();
        for n in 0..=65_535 {
            query = query.bind::<diesel::sql_types::Integer, _>(n);
        }
        query.execute(conn)?;
        Ok(())
    });
    assert_eq!(log.count("it is tried again"), 0, "it is known at once");
}

/// The database's character set lacks the character.
#[cfg(feature = "postgres")]
pub(crate) fn an_id_that_the_database_cannot_hold_is_given_up<C: Subject>(place: &Place) {
    spoiled::<C>(place, 1, &["żółw"], |_, _| unreachable!());
}

/// Fails this often by `act`, and then succeeds; fewer attempts than that are allowed.
pub(crate) fn endures<C: Subject>(
    place: &Place,
    act: impl Fn(&mut C) -> Result<(), BoxError> + Send + Sync + 'static,
) {
    const FAILURES: usize = 4;
    place.declare::<C>();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C,
              _: &Payload|
              -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            if counted.fetch_add(1, Ordering::SeqCst) < FAILURES {
                act(conn)?;
            }
            conn.batch_execute("insert into effects (note) values ('x')")?;
            Ok(Outcome::Done)
        },
    );
    place.send_raw("it", b"{}");
    let consumer = place.subscribe(&registry);
    // Not before: the fault may affect the session that checks, too.
    wait_until("it no longer fails", || {
        calls.load(Ordering::SeqCst) > FAILURES
    });
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("the effect", || effects() == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.dead), (1, 0));
    assert_eq!(calls.load(Ordering::SeqCst), FAILURES + 1);
}

/// `innodb_snapshot_isolation`, the default from MariaDB 11.6 on.
#[cfg(feature = "mysql")]
pub(crate) fn a_snapshot_that_is_out_of_date_is_nobodys_fault<C: Subject>(place: &Place) {
    let mut other = place.connect::<C>();
    if !other.is_mariadb() {
        eprintln!("skipped: MySQL has no innodb_snapshot_isolation");
        return;
    }
    other
        .batch_execute(
            "create table stock (id int primary key, n int); insert into stock values (1, 1)",
        )
        .unwrap();
    let other = std::sync::Mutex::new(other);
    endures::<C>(place, move |conn| {
        conn.batch_execute("set innodb_snapshot_isolation = on; select * from stock")?;
        let mut other = other.lock().unwrap();
        other.batch_execute("update stock set n = n + 1")?;
        conn.batch_execute("update stock set n = n - 1")?;
        Ok(())
    });
}

/// A lock wait and a deadlock, on a session with German error texts.
#[cfg(feature = "mysql")]
pub(crate) fn locks_are_nobodys_fault_in_any_language<C: Subject>(place: &Place) {
    let mut holder = place.connect::<C>();
    holder
        .batch_execute(
            "create table stock (id int primary key, n int); insert into stock values (1, 1);
             begin; update stock set n = n + 1",
        )
        .unwrap();
    endures::<C>(place, |conn| {
        conn.batch_execute("set lc_messages = 'de_DE', innodb_lock_wait_timeout = 1")?;
        conn.batch_execute("update stock set n = n - 1")?;
        Ok(())
    });
}

/// A deadlock, twice: detected by the server, as it happens to callbacks.
pub(crate) fn a_deadlock_is_nobodys_fault_in_any_language<C: Subject>(place: &Place) {
    let rows: Vec<String> = (1..=100).map(|n| format!("({n}, 0)")).collect();
    let rows = rows.join(", ");
    place
        .connect::<C>()
        .batch_execute("create table stock (id int primary key, n int)")
        .unwrap();
    place
        .connect::<C>()
        .batch_execute(&format!("insert into stock values {rows}"))
        .unwrap();
    let url = place.database_url().to_owned();
    endures::<C>(place, move |conn| {
        let language = match C::NAME {
            "PostgreSQL" => "set local deadlock_timeout = '10ms'",
            _ => "set lc_messages = 'de_DE'",
        };
        conn.batch_execute(language)?;
        conn.batch_execute("update stock set n = 1 where id = 1")?;
        // The other session has written more, so InnoDB ends ours; PostgreSQL ends the one that detects it first.
        let mut other = C::establish(&url)?;
        other.batch_execute("begin")?;
        other.batch_execute("update stock set n = 2 where id > 1")?;
        let waiting = std::thread::spawn(move || {
            let _ = other.batch_execute("update stock set n = 2 where id = 1");
            let _ = other.batch_execute("rollback");
        });
        let mut look = C::establish(&url)?;
        let waits = match C::NAME {
            "PostgreSQL" => {
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'"
            }
            _ => {
                "select count(*) from information_schema.processlist
                 where db = database() and state = 'Updating'"
            }
        };
        wait_until("the other one waits", || look.number(waits) == 1);
        let outcome = conn.batch_execute("update stock set n = 1 where id = 2");
        waiting.join().unwrap();
        outcome?;
        Ok(())
    });
}

/// PostgreSQL's own errors in German, and a tablespace that is full.
#[cfg(feature = "postgres")]
pub(crate) fn what_the_server_says_is_nobodys_fault<C: Subject>(place: &Place) {
    const SAID: [(&str, &str); 3] = [
        ("40P01", "Verklemmung (Deadlock) entdeckt"),
        (
            "55P03",
            "annulation de la requête à cause du délai écoulé pour l''obtention des verrous",
        ),
        ("40001", "any words at all"),
    ];
    let calls = AtomicUsize::new(0);
    endures::<C>(place, move |conn| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        let (code, text) = SAID[call % SAID.len()];
        conn.batch_execute(&format!(
            "do $do$ begin raise exception using errcode = '{code}', message = '{text}'; end $do$"
        ))?;
        Ok(())
    });
}

/// Errors that a callback's statements receive from the server itself.
fn met<C: Subject>(place: &Place) -> Vec<(&'static str, Vec<&'static str>)> {
    let is_mariadb = place.connect::<C>().is_mariadb();
    let too_long = if is_mariadb {
        (
            "1969",
            vec![
                "set lc_messages = 'de_DE'",
                "set max_statement_time = 0.02",
                "select sleep(10)",
            ],
        )
    } else {
        (
            "3024",
            vec![
                "set lc_messages = 'de_DE'",
                "set max_execution_time = 20",
                LONG_QUERY,
            ],
        )
    };
    match C::NAME {
        "PostgreSQL" => vec![
            (
                "57014",
                vec![
                    "set local statement_timeout = '20ms'",
                    "select pg_sleep(10)",
                ],
            ),
            (
                "55P03",
                vec!["set local lock_timeout = '20ms'", "lock table held"],
            ),
            ("55P03 nowait", vec!["lock table held nowait"]),
            (
                "25006",
                vec!["set transaction read only", "delete from effects"],
            ),
            (
                "57P01",
                vec!["select pg_terminate_backend(pg_backend_pid())"],
            ),
            (
                "25P03",
                vec![
                    "set idle_in_transaction_session_timeout = 1",
                    "wait",
                    "select 1",
                ],
            ),
            (
                "53100",
                vec![
                    "do $$ begin raise exception using errcode = '53100', \
                    message = 'could not extend file \"base/1/2\": No space left on device'; end $$",
                ],
            ),
            (
                "58030",
                vec![
                    "do $$ begin raise exception using errcode = '58030', \
                    message = 'could not read block 1 in file \"base/1/2\": Input/output error'; end $$",
                ],
            ),
        ],
        "SQLite" => vec![
            (
                "SQLITE_FULL",
                vec![
                    "pragma max_page_count = 1",
                    "insert into effects select hex(randomblob(1000000))",
                ],
            ),
            (
                "SQLITE_READONLY",
                vec!["pragma query_only = on", "delete from effects"],
            ),
        ],
        _ => vec![
            too_long,
            (
                "1205",
                vec!["set innodb_lock_wait_timeout = 1", "delete from held"],
            ),
            (
                "1205 nowait",
                vec!["set innodb_lock_wait_timeout = 0", "delete from held"],
            ),
            (
                "1114",
                vec![
                    if is_mariadb {
                        "set lc_messages = 'de_DE', max_heap_table_size = 16384"
                    } else {
                        "set max_heap_table_size = 16384"
                    },
                    "create temporary table small (t char(255)) engine = memory",
                    "insert into small with recursive numbers (n) as
                         (select 1 union all select n + 1 from numbers where n < 1000)
                     select repeat('x', 255) from numbers",
                ],
            ),
            ("1927", vec!["kill connection_id()"]),
            (
                "2013",
                vec!["set session wait_timeout = 1", "wait", "select 1"],
            ),
        ],
    }
}

pub(crate) fn what_a_statement_meets_is_nobodys_fault<C: Subject>(place: &Place) {
    use diesel_outbox::Message;
    use diesel_outbox::testing::{self, Handling};

    let mut holder = place.connect::<C>();
    if C::NAME != "SQLite" {
        holder
            .batch_execute("create table held (n integer)")
            .unwrap();
        holder.batch_execute("insert into held values (1)").unwrap();
        holder.batch_execute("begin").unwrap();
        holder.batch_execute("update held set n = 2").unwrap();
    }
    let mut all = met::<C>(place);
    if has_transaction_timeout::<C>(place) {
        let limit = "set local transaction_timeout = '20ms'";
        all.extend([
            ("25P04", vec![limit, "select pg_sleep(10)"]),
            ("25P04 between statements", vec![limit, "wait", "select 1"]),
        ]);
    }
    for (name, statements) in all {
        let mut conn = place.connect::<C>();
        let registry = Registry::<C>::new().on(
            "it",
            move |conn: &mut C,
                  _: &Payload|
                  -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
                for statement in &statements {
                    if *statement == "wait" {
                        // The server's own time limit ends the session at an unknown moment.
                        std::thread::sleep(std::time::Duration::from_millis(1_500));
                        continue;
                    }
                    conn.batch_execute(statement)?;
                }
                Ok(Outcome::Done)
            },
        );
        let message = Message::new(place.topic(), 1);
        let handling = testing::handle(&mut conn, &registry, "it", message).unwrap();
        assert!(
            matches!(handling, Handling::Unavailable(_)),
            "{name}: {handling:?}"
        );
    }
}

/// Errors that a callback's statement receives repeatedly while its connection lives and others can write: a
/// full tablespace, memory, a page that cannot be read.
pub(crate) fn a_full_disk_is_nobodys_fault_however_often<C: Subject>(place: &Place) {
    for (name, statements) in met::<C>(place) {
        if !["53100", "58030", "1114", "SQLITE_FULL"].contains(&name) {
            continue;
        }
        endures::<C>(place, move |conn| {
            for statement in &statements {
                conn.batch_execute(statement)?;
            }
            Ok(())
        });
        place
            .connect::<C>()
            .batch_execute("delete from effects; delete from received")
            .unwrap();
    }
}
