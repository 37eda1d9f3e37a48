//! Times and clocks: which clock counts, and how far times reach.

use diesel_outbox::backend::FailureAction;

use super::claims::{bodies, failure};
use super::*;

/// The database's clock is an hour ahead of the writer's, if a session can set it.
pub(crate) fn times_count_by_the_databases_clock<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    conn.batch_execute(match C::NAME {
        "PostgreSQL" => {
            "create schema early;
            create function early.clock_timestamp() returns timestamptz language sql
                as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$;
            set search_path = early, pg_catalog, public"
        }
        "SQLite" => "select 1",
        _ => "set timestamp = unix_timestamp() + 3600",
    })
    .unwrap();
    let after = |seconds: i64| match C::NAME {
        "PostgreSQL" => format!("clock_timestamp() + interval '{seconds} s'"),
        "SQLite" => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '+{seconds} seconds') || '000'"),
        _ => format!("utc_timestamp(6) + interval {seconds} second"),
    };
    let message = || Message::new("/queue/a", 1);
    message()
        .delay(MINUTE)
        .expires_in(3 * MINUTE)
        .publish(&mut conn)
        .unwrap();
    let mut count = |column: &str, from: i64, to: i64| {
        let (from, to) = (after(from), after(to));
        let condition = format!("{column} > {from} and {column} <= {to}");
        conn.run(&format!("update published set retry = 0 where {condition}"))
            .unwrap()
    };
    assert_eq!(count("due_at", 30, 61), 1);
    assert_eq!(count("expires_at", 150, 181), 1);
    // Neither late nor expired at once.
    message().expires_in(MINUTE).publish(&mut conn).unwrap();
    message().delay(Duration::ZERO).publish(&mut conn).unwrap();
    let rows = conn.claim(PUBLISHED, Uuid::new_v4(), MINUTE, 9).unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [2, 3]);
    assert!(rows.iter().all(|row| !row.expired));
    // Absolute times do not change.
    let moment: chrono::DateTime<chrono::Utc> = "2031-02-03T04:05:06Z".parse().unwrap();
    message()
        .due_at(moment)
        .expires_at(moment)
        .publish(&mut conn)
        .unwrap();
    let at = match C::NAME {
        "PostgreSQL" => "'2031-02-03T04:05:06Z'",
        _ => "'2031-02-03 04:05:06.000000'",
    };
    let same = conn.run(&format!(
        "update published set retry = 0 where due_at = {at} and expires_at = {at}"
    ));
    assert_eq!(same.unwrap(), 1);
}

/// Sets the session's clock an hour ahead, or back again, if the database allows that.
fn set_clock<C: Subject>(conn: &mut C, is_ahead: bool) {
    conn.batch_execute(match (C::NAME, is_ahead) {
        ("PostgreSQL", true) => {
            "create schema early;
            create function early.clock_timestamp() returns timestamptz language sql
                as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$;
            set search_path = early, pg_catalog, public"
        }
        ("PostgreSQL", false) => "set search_path = pg_catalog, public",
        ("SQLite", _) => "select 1",
        (_, true) => "set timestamp = unix_timestamp() + 3600",
        (_, false) => "set timestamp = default",
    })
    .unwrap();
}

pub(crate) fn a_clock_that_is_set_back_blocks_no_key<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    set_clock(&mut conn, true);
    let token = Uuid::new_v4();
    for (body, action) in [(0, FailureAction::Expire), (1, FailureAction::ParkAndSkip)] {
        let id = write(&mut conn, body, Some("k"));
        assert_eq!(
            bodies(&conn.claim(PUBLISHED, token, MINUTE, 9).unwrap()),
            [body.to_string()]
        );
        let failures = [failure(nth(body + 1, id), action)];
        assert_eq!(conn.settle_failed(PUBLISHED, token, &failures).unwrap(), 1);
    }
    write(&mut conn, 2, Some("k"));
    set_clock(&mut conn, false);
    assert_eq!(
        bodies(&conn.claim(PUBLISHED, token, MINUTE, 9).unwrap()),
        ["2"]
    );
}

pub(crate) fn any_moment_and_time_is_kept_as_it_is_meant<C: Subject>(url: &str) {
    use chrono::{DateTime, Utc};

    let mut conn = connect::<C>(url);
    let write = |conn: &mut C, change: &dyn Fn(Message) -> Message| {
        change(Message::new("/queue/a", 1)).publish(conn).unwrap()
    };
    let years = |years: [&str; 3]| -> Vec<DateTime<Utc>> {
        years
            .map(|year| format!("{year}-03-15T00:00:00Z").parse().unwrap())
            .into()
    };
    let early = [
        years(["-0044", "-9999", "0000"]),
        vec![DateTime::<Utc>::MIN_UTC],
    ]
    .concat();
    let late = [
        years(["+12345", "9999", "+99999"]),
        vec![DateTime::<Utc>::MAX_UTC],
    ]
    .concat();
    let (mut goes, mut expired) = (Vec::new(), Vec::new());
    for moment in late {
        goes.push(write(&mut conn, &|message| message.expires_at(moment)));
        write(&mut conn, &|message| message.due_at(moment));
    }
    for moment in early {
        expired.push(write(&mut conn, &|message| message.expires_at(moment)));
        goes.push(write(&mut conn, &|message| message.due_at(moment)));
    }
    for time in [Duration::MAX, Duration::from_secs(400_000_000_000)] {
        goes.push(write(&mut conn, &|message| message.expires_in(time)));
        write(&mut conn, &|message| message.delay(time));
    }
    let rows = conn.claim(PUBLISHED, Uuid::new_v4(), MINUTE, 99).unwrap();
    let ids = |is_expired: bool| -> Vec<Uuid> {
        let rows = rows.iter().filter(|row| row.expired == is_expired);
        rows.map(|row| row.id).collect()
    };
    goes.sort();
    let mut found = ids(false);
    found.sort();
    assert_eq!(found, goes);
    assert_eq!(ids(true), expired);
    let counts = admin::status(&mut conn).unwrap();
    assert_eq!(counts.waiting, 2 * 8 + 4);
    // No row is older than the longest duration.
    let older = conn.delete_older(diesel_outbox::backend::Table::Published, Duration::MAX, 9);
    assert_eq!(older.unwrap(), 0);
    conn.jobs_within(Duration::from_secs(400_000_000_000))
        .unwrap();
}
