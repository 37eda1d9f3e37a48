//! Signals, and a database that is away.

use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;

use crate::served::{Served, web_with_tokens};
use crate::subject::{NewRow, PARKED, connect, count, id, write};
use crate::support;
use crate::support::own::Cluster;
use crate::support::program::wait_until;

/// A change waits for a lock that the test holds, and the program for the change.
#[test]
fn a_stop_waits_for_changes_under_way() {
    let Some(database) = support::postgres::<PgConnection>() else {
        return;
    };
    let mut conn = connect::<PgConnection>(&database);
    let numbers: Vec<String> = (0..3).map(id).collect();
    let rows: Vec<NewRow<'_>> = numbers.iter().map(|id| NewRow { id, ..PARKED }).collect();
    write(&mut conn, &rows);
    for is_finished in [true, false] {
        let mut command = web_with_tokens(&database.url, &[]);
        let limit = if is_finished { "30s" } else { "500ms" };
        command.env("OUTBOX_SHUTDOWN_TIMEOUT", limit);
        let mut served = Served::spawn(&mut command);
        let ann = &served.ann;
        let list = ann.get("messages?state=parked").is(200);
        let form = list
            .form("change-rows")
            .with("id", &numbers[0])
            .press("retry.selected");
        let asked = ann.send(&list, &form).is(200);
        conn.batch_execute("begin; update published set version = 'x'")
            .unwrap();
        let job = ann.send_and_follow(&asked, &asked.form("confirm")).is(200);
        job.says("Running")
            .says("0 of 1")
            .says("You can leave this page.");
        ann.get("")
            .is(200)
            .says("Running: retry 1 parked row by ann");
        served.program.signal("TERM");
        wait_until("it listens no more", || {
            std::net::TcpStream::connect(ann.start.authority()).is_err()
        });
        assert!(!served.program.has_ended());
        if is_finished {
            conn.batch_execute("commit").unwrap();
            let lines = served.ended(0);
            assert!(
                lines.iter().any(|line| line.contains("changed on a page")),
                "{lines:#?}"
            );
            assert_eq!(count(&mut conn, "status = 1"), 1);
            conn.batch_execute("update published set status = -1")
                .unwrap();
        } else {
            let lines = served.ended(3);
            assert!(
                lines
                    .iter()
                    .any(|line| line.contains("did not finish in time")),
                "{lines:#?}"
            );
            conn.batch_execute("commit").unwrap();
        }
    }
    // Nothing is under way.
    let served = Served::start(&database, &[]);
    served.ann.get("").is(200);
    served.stop();
}

/// The server is the test's own.
#[test]
fn a_database_that_is_away_is_a_page_and_comes_back() {
    let mut server = Cluster::<PgConnection>::start("");
    let database = server.database();
    let mut conn = connect::<PgConnection>(&database);
    write(
        &mut conn,
        &[NewRow {
            id: &id(1),
            ..PARKED
        }],
    );
    drop(conn);
    let mut command = web_with_tokens(&database.url, &[]);
    command.env("OUTBOX_DATABASE_TIMEOUT", "1s");
    let served = Served::spawn(&mut command);
    let ann = &served.ann;
    let list = ann.get("messages?state=parked").is(200);
    let form = list
        .form("change-rows")
        .with("id", &id(1))
        .press("retry.selected");
    server.signal(rustix::process::Signal::INT);
    server.wait();
    for page in ["", "messages", "inbox", "message?id=x"] {
        let refused = ann.get(page).is(503).says("The database is not available");
        assert!(
            !refused.text().contains("postgres://"),
            "{}",
            refused.text()
        );
    }
    ann.send(&list, &form).is(503);
    // Pages without the database go on.
    ann.get("dead-letters").is(200);
    ann.get("style.css").is(200);
    server.run();
    wait_until("the pages come back", || {
        std::thread::sleep(Duration::from_millis(50));
        ann.get("messages").status == 200
    });
    let asked = ann.send(&list, &form).is(200);
    let job = ann.send_and_follow(&asked, &asked.form("confirm")).is(200);
    job.says("1 to be sent again");
    served.stop();
}
