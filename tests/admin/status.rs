//! The numbers of rows that are not settled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::InstrumentationEvent;
use diesel_outbox::admin::{self, NamedCount, Rows, Status};
use diesel_outbox::backend::PUBLISHED;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Long after any test.
const LATER: &str = "'8000-01-01 00:00:00.000000'";

/// Writes a row and changes its columns.
fn with<C: Subject>(conn: &mut C, message: Message, changes: &str) -> Uuid {
    let id = message.publish(conn).unwrap();
    execute(
        conn,
        &format!("update published set {changes} where id = '{id}'"),
    );
    id
}

fn plain() -> Message {
    Message::new("/queue/a", 1)
}

fn names(counts: &[NamedCount]) -> Vec<(&str, i64)> {
    counts
        .iter()
        .map(|it| (it.name.as_str(), it.rows))
        .collect()
}

pub(crate) fn each_state_is_counted_apart<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let delayed = format!("due_at = {LATER}");
    let leased = format!("due_at = {LATER}, lease_token = id");
    let paused_again = format!("due_at = {LATER}, retry = 3, last_error = 'refused'");
    let key = |message: Message, key: &str| message.key(key.to_owned());
    write(conn, 1);
    // A lease that has ended.
    with(
        conn,
        plain(),
        "lease_token = id, due_at = '2001-01-01 00:00:00.000000'",
    );
    with(conn, plain(), &delayed);
    with(conn, plain(), &leased);
    with(conn, plain(), &paused_again);
    with(conn, plain(), "retry = 1, last_error = 'refused'");
    for status in [1, -1] {
        // A leased row, and one that is parked and blocks its key; two rows behind each.
        let name = format!("k{status}");
        with(
            conn,
            key(plain(), &name),
            &format!("{leased}, status = {status}"),
        );
        key(plain(), &name).publish(conn).unwrap();
        key(plain(), &name).publish(conn).unwrap();
    }
    // Its key goes on.
    with(
        conn,
        key(plain(), "gone"),
        "status = -1, last_error = 'expired'",
    );
    key(plain(), "gone").publish(conn).unwrap();
    with(conn, plain(), "status = -1, last_error = 'cancelled'");
    with(conn, plain(), "status = 2");
    let status = admin::status(conn).unwrap();
    let Status {
        waiting,
        not_due,
        due,
        blocked,
        delayed,
        retrying,
        leased,
        ..
    } = status;
    assert_eq!((due, blocked, delayed), (3, 4, 1), "{status:#?}");
    assert_eq!((retrying, leased), (2, 2), "{status:#?}");
    assert_eq!(waiting, due + blocked + delayed + retrying + leased);
    assert_eq!(not_due, 4);
    assert_eq!((status.parked, status.expired, status.cancelled), (3, 1, 1));
    let oldest = admin::list(conn, &admin::Filter::new(), None, 1).unwrap();
    assert_eq!(status.oldest_waiting, Some(oldest.rows[0].added));
    let totals = admin::totals(conn).unwrap();
    assert_eq!((totals.sent, totals.received, totals.executed), (1, 0, 0));
    assert_eq!(Rows::Calls.status(conn).unwrap(), Status::default());
}

pub(crate) fn reasons_and_targets_are_listed_by_their_number<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let long = "é".repeat(300);
    for (reason, rows) in [("it's refused", 3), ("closed", 1), (long.as_str(), 2)] {
        for n in 0..rows {
            let message = Message::new(format!("/queue/{rows}"), n);
            let reason = reason.replace('\'', "''");
            with(
                conn,
                message,
                &format!("retry = 1, last_error = '{reason}'"),
            );
        }
    }
    write(conn, 1);
    let status = admin::status(conn).unwrap();
    let short = "é".repeat(200);
    let expected = [("it's refused", 3), (short.as_str(), 2), ("closed", 1)];
    assert_eq!(names(&status.reasons), expected);
    let expected = [
        ("/queue/3", 3),
        ("/queue/2", 2),
        ("/queue/1", 1),
        ("/queue/a", 1),
    ];
    assert_eq!(names(&status.targets), expected);
    let expected = [("/queue/3", 3), ("/queue/2", 2), ("/queue/1", 1)];
    assert_eq!(names(&status.failing), expected);
}

pub(crate) fn names_that_no_executor_claims_are_listed<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let old = "added = '2001-01-01 00:00:00.000000'";
    let key = C::KEY;
    let ago = |conn: &mut C, seconds: u32| {
        let time = conn.ago(Duration::from_secs(1) * seconds).unwrap();
        format!("'{}'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
    };
    let (just_now, before) = (ago(conn, 30), ago(conn, 90));
    let calls = [
        ("unknown", old.to_owned()),
        ("unknown", String::new()),
        // Its time has come long after it was written.
        (
            "due",
            format!("{old}, due_at = '2020-01-01 00:00:00.000000'"),
        ),
        // Some have failed before, and nobody retries them.
        ("failed", old.to_owned()),
        ("failed", format!("{old}, retry = 1, due_at = {before}")),
        ("pauses", old.to_owned()),
        ("pauses", format!("{old}, retry = 1, due_at = {LATER}")),
        // The executor that had one has died.
        ("died", old.to_owned()),
        (
            "died",
            format!("{old}, due_at = {before}, lease_token = id"),
        ),
        (
            "taken",
            format!("{old}, due_at = '2020-01-01 00:00:00.000000', lease_token = id"),
        ),
        // Known: one is executed, or was until now; all others are retried.
        ("ended", old.to_owned()),
        (
            "ended",
            format!("{old}, due_at = {just_now}, lease_token = id"),
        ),
        ("retried", format!("{old}, retry = 1, due_at = {LATER}")),
        ("retried", format!("{old}, retry = 1, due_at = {just_now}")),
        ("leased", old.to_owned()),
        (
            "leased",
            format!("{old}, due_at = {LATER}, lease_token = id"),
        ),
        ("young", String::new()),
        ("delayed", format!("{old}, due_at = {LATER}, {key} = 'k'")),
        ("blocked", format!("{old}, {key} = 'k'")),
        ("paused", format!("{old}, stream = 'paused'")),
        ("flows", format!("{old}, stream = 'flows'")),
        ("done", format!("{old}, status = 2")),
    ];
    admin::pause_stream(conn, "paused").unwrap();
    for (name, changes) in calls {
        let id = Uuid::now_v7();
        execute(
            conn,
            &format!("insert into outbox_calls (id, name, args) values ('{id}', '{name}', '{{}}')"),
        );
        if !changes.is_empty() {
            let change = format!("update outbox_calls set {changes} where id = '{id}'");
            execute(conn, &change);
        }
    }
    let status = Rows::Calls.status(conn).unwrap();
    let found: Vec<(&str, i64)> = status
        .unclaimed
        .iter()
        .map(|calls| (calls.name.as_str(), calls.rows))
        .collect();
    let expected = [
        ("died", 2),
        ("failed", 2),
        ("flows", 1),
        ("pauses", 1),
        ("unknown", 2),
        ("due", 1),
        ("taken", 1),
    ];
    assert_eq!(found, expected);
    let years = |age: Duration| age.as_secs() / (365 * 24 * 3600);
    // Since its time has come, and since the end of the lease.
    for later in &status.unclaimed[5..] {
        let since_due = years(later.oldest);
        assert_eq!(years(status.unclaimed[0].oldest) - since_due, 19);
    }
    let failing = [("retried", 2), ("failed", 1), ("pauses", 1)];
    assert_eq!(names(&status.failing), failing);
    assert!(admin::status(conn).unwrap().unclaimed.is_empty());
}

pub(crate) fn the_age_is_that_of_the_first_row_that_can_be_claimed<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let hour_ago = |conn: &mut C, hours: u64| {
        let time = conn
            .ago(MINUTE * 60 * u32::try_from(hours).unwrap())
            .unwrap();
        format!("'{}'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
    };
    let of = |name: &str| plain().stream(name);
    let (one, two, nine) = (hour_ago(conn, 1), hour_ago(conn, 2), hour_ago(conn, 9));
    // Written long ago: delayed, leased, blocked, and in a paused stream.
    let old = format!("added = {nine}");
    with(
        conn,
        plain(),
        &format!("{old}, due_at = {LATER}, {} = 'k'", C::KEY),
    );
    with(conn, plain(), &format!("{old}, {} = 'k'", C::KEY));
    with(
        conn,
        plain(),
        &format!("{old}, due_at = {LATER}, lease_token = id"),
    );
    with(conn, of("paused"), &old);
    admin::pause_stream(conn, "paused").unwrap();
    assert!(
        admin::status(conn)
            .unwrap()
            .streams
            .iter()
            .all(|it| it.claimable == 0)
    );
    // Due for an hour, and for two hours.
    with(conn, plain(), &format!("{old}, due_at = {one}"));
    with(conn, of("mail"), &format!("added = {two}, retry = 2"));
    with(conn, of("mail"), &format!("added = {one}"));
    let status = admin::status(conn).unwrap();
    let found: Vec<_> = status
        .streams
        .iter()
        .map(|it| {
            let hours = it.oldest_claimable.as_secs() / 3600;
            (
                it.name.as_deref(),
                it.is_paused,
                it.waiting,
                it.claimable,
                hours,
            )
        })
        .collect();
    let expected = [
        (None, false, 4, 1, 1),
        (Some("mail"), false, 2, 2, 2),
        (Some("paused"), true, 1, 0, 0),
    ];
    assert_eq!(found, expected);
    assert_eq!(status.paused_streams, ["paused"]);
}

pub(crate) fn holders_of_leases_have_names<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    write_all(conn, 3);
    // The token of an earlier version says nothing.
    let token = Uuid::new_v4();
    assert_eq!(conn.claim(PUBLISHED, token, MINUTE, 1).unwrap().len(), 1);
    // Claims of one holder: the last six bytes are its name.
    for (time, rows) in [(2_000_000_000_000_u64, 1), (1_900_000_000_000, 1)] {
        let token = uuid::Builder::from_unix_timestamp_millis(time, &[7; 10]).into_uuid();
        assert_eq!(conn.claim(PUBLISHED, token, MINUTE, rows).unwrap().len(), 1);
    }
    let status = admin::status(conn).unwrap();
    assert_eq!(status.leased, 3);
    let [unknown, known] = status.holders.as_slice() else {
        panic!("{:?}", status.holders)
    };
    assert_eq!(
        (unknown.name.as_deref(), unknown.rows, unknown.since),
        (None, 1, None)
    );
    assert_eq!(
        (known.name.as_deref(), known.rows),
        (Some("070707070707"), 2)
    );
    assert_eq!(known.since.unwrap().timestamp(), 1_900_000_000);
    let now = conn.now().unwrap();
    assert!(known.until > now && unknown.until > now);
}

/// The numbers of rows in each state of a table with many rows that were sent.
pub(crate) fn sent_rows_are_not_read<C: Subject>(url: &str) {
    const SENT: i64 = 4_000;
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    conn.atomically(|conn| {
        for n in 0..SENT {
            Message::new("/queue/a", n)
                .key(n.to_string())
                .publish(conn)
                .unwrap();
        }
        Ok::<_, diesel::result::Error>(())
    })
    .unwrap();
    execute(conn, "update published set status = 2, sent_at = added");
    let ids = write_all(conn, 9);
    park(conn, &ids[..3], "refused");
    plain().key("1".to_owned()).publish(conn).unwrap();
    execute(
        conn,
        &format!("update published set retry = 1 where id = '{}'", ids[4]),
    );
    execute(
        conn,
        match C::NAME {
            "MySQL/MariaDB" => "analyze table published",
            _ => "analyze",
        },
    );
    let read = |conn: &mut C| {
        let status = admin::status(conn).unwrap();
        assert_eq!((status.waiting, status.parked, status.retrying), (7, 3, 1));
    };
    match C::NAME {
        "PostgreSQL" => {
            let rows =
                "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint as n
                from pg_stat_xact_user_tables where relname = 'published'";
            conn.atomically(|conn| {
                // What the server has not counted yet of earlier transactions is among them.
                let before = conn.number(rows);
                read(conn);
                let rows = conn.number(rows) - before;
                assert!((10..200).contains(&rows), "{rows} rows were read");
                Ok::<_, diesel::result::Error>(())
            })
            .unwrap();
        }
        "MySQL/MariaDB" => {
            let place = match conn.number("select version() like '%MariaDB%' as n") {
                1 => "information_schema.session_status",
                _ => "performance_schema.session_status",
            };
            let rows = format!(
                "select cast(sum(variable_value) as signed) as n from {place}
                 where variable_name in ('Handler_read_first', 'Handler_read_key', 'Handler_read_last',
                     'Handler_read_next', 'Handler_read_prev', 'Handler_read_rnd', 'Handler_read_rnd_next')"
            );
            let nothing = conn.number(&rows);
            // The query reads the server's list of variables.
            let by_the_query = conn.number(&rows) - nothing;
            let before = conn.number(&rows);
            read(conn);
            let rows = conn.number(&rows) - before - by_the_query;
            assert!((10..500).contains(&rows), "{rows} rows were read");
        }
        _ => {
            let statements = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&statements);
            conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::StartQuery { query, .. } = event {
                    seen.lock().unwrap().push(query.to_string());
                }
            });
            read(conn);
            let statements = statements.lock().unwrap().clone();
            let mut lines = Vec::new();
            for statement in statements.iter().filter(|it| it.contains("published")) {
                let (sql, _) = statement.split_once(" -- binds").unwrap();
                lines.extend(conn.texts(&format!("explain query plan {sql}")));
            }
            assert!(lines.iter().any(|line| line.contains("published_waiting")));
            assert!(lines.iter().any(|line| line.contains("published_parked")));
            for line in &lines {
                let reads_all = line.contains("SCAN published") && !line.contains("USING INDEX");
                let is_bad = reads_all || line.contains("settled") || line.contains("PRIMARY KEY");
                assert!(!is_bad, "{lines:#?}");
            }
        }
    }
}
