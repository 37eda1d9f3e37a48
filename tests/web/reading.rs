//! How many rows the pages read of an outbox with many rows.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;

use crate::served::Served;
use crate::subject::{Subject, connect};
use crate::support;

const SENT: i64 = 150_000;

/// PostgreSQL counts the rows that a session has read for certain when the session has ended.
#[test]
fn no_page_reads_all_rows() {
    let Some(database) = support::postgres::<PgConnection>() else {
        return;
    };
    let mut conn = connect::<PgConnection>(&database);
    conn.batch_execute(&format!(
        "alter table published set (autovacuum_enabled = false);
         insert into published (id, destination, body, added, status, sent_at)
             select gen_random_uuid(), '/queue/' || n % 10, '{{}}', now() - n * interval '1 second', 2, now()
             from generate_series(1, {SENT}) n;
         insert into published (id, destination, body, status, retry, last_error, due_at, key)
             select gen_random_uuid(), '/queue/b', '{{}}', -1, 50, 'refused', '8000-01-01', 'k' || n
             from generate_series(1, 2000) n;
         insert into published (id, destination, body, key, retry)
             select gen_random_uuid(), '/queue/c', '{{}}', 'k' || n, n % 2
             from generate_series(1, 3000) n"
    ))
    .unwrap();
    conn.batch_execute("vacuum analyze published").unwrap();
    let read = |conn: &mut PgConnection| {
        conn.number(
            "select (seq_tup_read + idx_tup_fetch)::bigint as n from pg_stat_user_tables where relname = 'published'",
        )
    };
    let scans = |conn: &mut PgConnection| {
        conn.number(
            "select seq_scan::bigint as n from pg_stat_user_tables where relname = 'published'",
        )
    };
    // What this session has read is counted from now on.
    drop(conn);
    let mut conn = connect::<PgConnection>(&database);
    let before = (read(&mut conn), scans(&mut conn));
    let mut served = Served::start(&database, &[]);
    for page in [
        "",
        "messages",
        "messages?key=k7",
        "messages?state=parked",
        "messages?state=parked&error=refused",
        "messages?state=done",
        "messages?state=done&to=/queue/3",
        "calls",
        "inbox",
    ] {
        let page = served.ann.get(page).is(200);
        let is_next = |link: &url::Url| link.query().is_some_and(|query| query.contains("after="));
        for next in page.links().iter().filter(|link| is_next(link)) {
            served.ann.visit(next).is(200);
        }
    }
    served.program.signal("TERM");
    assert!(served.program.ended().success());
    let rows = read(&mut conn) - before.0;
    assert_eq!(scans(&mut conn), before.1, "a sequential scan");
    // The overview and a sample of the charts read the rows that wait and that are parked a few times.
    assert!((5_000..100_000).contains(&rows), "{rows} rows were read");
}
