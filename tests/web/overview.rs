//! The overview: numbers, what needs attention, and charts.

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;

use crate::client::Answer;
use crate::document::{attributes, texts};
use crate::served::{Served, web_with_tokens};
use crate::subject::{LATER, NewRow, PARKED, ROW, SENT, Subject, connect, id, write, write_calls};
use crate::support::TestDatabase;
use crate::support::program::{Program, wait_until};

/// The tiles of messages, then those of calls.
fn tiles(page: &Answer) -> Vec<String> {
    let document = page.document();
    let names = texts(&document, ".tile .name");
    let values = texts(&document, ".tile .value");
    names
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

fn notices(page: &Answer) -> Vec<String> {
    texts(&page.document(), ".verdict li")
}

pub(crate) fn the_numbers_are_those_of_the_rows<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let served = Served::start(database, &[]);
    let empty = served.ann.get("").is(200).says("All is well");
    assert_eq!(tiles(&empty).len(), 9, "no calls: {:?}", tiles(&empty));
    let numbers: Vec<String> = (0..20).map(id).collect();
    let row = |at: usize, of: NewRow<'static>| NewRow {
        id: &numbers[at],
        ..of
    };
    write(
        &mut conn,
        &[
            row(0, ROW),
            NewRow {
                key: "'k'",
                ..row(1, PARKED)
            },
            NewRow {
                key: "'k'",
                ..row(2, ROW)
            },
            NewRow {
                due_at: LATER,
                ..row(3, ROW)
            },
            NewRow {
                due_at: LATER,
                attempts: 3,
                error: "'refused'",
                ..row(4, ROW)
            },
            NewRow {
                due_at: LATER,
                stream: "'mail'",
                ..row(5, ROW)
            },
            NewRow {
                error: "'expired'",
                ..row(6, PARKED)
            },
            NewRow {
                error: "'cancelled'",
                ..row(7, PARKED)
            },
            row(8, SENT),
            row(9, SENT),
        ],
    );
    write_calls(
        &mut conn,
        &[
            NewRow {
                destination: "'charge'",
                ..row(10, ROW)
            },
            NewRow {
                destination: "'charge'",
                ..row(11, ROW)
            },
            NewRow {
                destination: "'charge'",
                ..row(12, SENT)
            },
        ],
    );
    conn.batch_execute(&format!(
        "update published set lease_token = '01ba5d02-a800-7707-8707-070707070707' where id = '{}';
         update published set added = '2001-01-01 00:00:00.000000' where id = '{}';
         update outbox_calls set added = '2001-01-01 00:00:00.000000';
         insert into outbox_streams (name, paused) values ('mail', true);
         insert into received (id, msg_id) values ('{}', 'm')",
        numbers[5], numbers[0], numbers[0]
    ))
    .unwrap();
    let page = served.ann.get("").is(200);
    let shown = tiles(&page);
    let lag = shown[0].clone();
    assert!(lag.starts_with("Lag 9") && lag.contains(" d"), "{lag}");
    assert_eq!(
        shown[1..9],
        [
            "Waiting 5",
            "Due 1",
            "Retrying 1",
            "Blocked 1",
            "Delayed 1",
            "Leased 1",
            "Parked 3",
            "Sent 2"
        ]
    );
    assert_eq!(shown[10], "Waiting 2");
    assert_eq!(shown[17], "Executed 1");
    let noticed = notices(&page);
    let expected = [
        "2 messages are parked: not tried again automatically",
        "1 message is blocked by an earlier row of the same key",
        "the oldest of the messages that could be taken waits for 9",
        "the oldest of the calls that could be taken waits for 9",
        "no executor takes calls of charge: 2 wait",
        "1 message is retried after a failure",
        "the stream mail is paused",
    ];
    for text in expected {
        let found = noticed.iter().any(|notice| notice.starts_with(text));
        assert!(found, "no {text} in {noticed:#?}");
    }
    assert_eq!(noticed.len(), expected.len(), "{noticed:#?}");
    let page = page.says("1 handled").says("070707070707").says("refused");
    // What needs attention leads to its rows.
    let parked = served.ann.visit(&page.link(&noticed[0])).is(200);
    assert_eq!(texts(&parked.document(), "td.id").len(), 3);
    let reason = served.ann.visit(&page.link("refused")).is(200);
    assert_eq!(texts(&reason.document(), "td.id"), [numbers[4].as_str()]);
    let calls = served
        .ann
        .visit(&page.link("no executor takes calls of charge: 2 wait"));
    assert_eq!(texts(&calls.is(200).document(), "td.id").len(), 2);
}

/// Two samples are 15 s apart. Processes are asked as often.
#[test]
fn charts_have_points_and_processes_are_asked() {
    let database = crate::support::sqlite::<SqliteConnection>();
    let mut conn = connect::<SqliteConnection>(&database);
    let broker = diesel_outbox::testing::LoopbackBroker::start().unwrap();
    let mut relay = std::process::Command::new(env!("CARGO_BIN_EXE_publish"));
    relay
        .args(["--metrics-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &database.url)
        .env("STOMP_URL", broker.url());
    let mut relay = Program::spawn(&mut relay);
    let address = relay.metrics_address();
    let mut command = web_with_tokens(&database.url, &[]);
    command.env(
        "OUTBOX_WEB_PROCESSES",
        format!("http://{address},http://127.0.0.1:1"),
    );
    let served = Served::spawn(&mut command);
    let ann = &served.ann;
    wait_until("processes are asked", || {
        ann.get("").text().contains("does not answer")
    });
    let page = ann
        .get("")
        .is(200)
        .says(&address)
        .says("written not known yet");
    assert_eq!(
        attributes(&page.document(), "polyline", "points").len(),
        1,
        "the lag"
    );
    let numbers: Vec<String> = (0..30).map(id).collect();
    let rows: Vec<NewRow<'_>> = numbers.iter().map(|id| NewRow { id, ..ROW }).collect();
    write(&mut conn, &rows);
    let mut page = page;
    wait_until("there is a second sample", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        page = ann.get("").is(200);
        !page.text().contains("not known yet")
    });
    let document = page.document();
    let rates = texts(&document, ".chart figcaption");
    // 30 rows in about 15 s.
    assert!(
        rates[0].contains("written 2.0/s, sent 2.0/s")
            || rates[0].contains("written 1.9/s, sent 1.9/s"),
        "{rates:?}"
    );
    let lines = attributes(&document, "polyline", "points");
    assert_eq!(lines.len(), 3, "written, sent, lag");
    let lag = lines.last().unwrap();
    assert_eq!(lag.split(' ').count(), 2, "{lag}");
    assert!(lag.contains("600.0,"), "{lag}");
    let labels = attributes(&document, ".chart svg", "aria-label");
    assert!(
        labels[0].starts_with("Rate in the last hour: written"),
        "{labels:?}"
    );
    page.says("30");
    relay.signal("TERM");
    relay.ended();
}

/// The checks are those of `outbox doctor`, and are made on request only.
#[test]
fn checks_are_made_on_request() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    let mut conn = connect::<diesel::SqliteConnection>(&database);
    let mut command = web_with_tokens(&database.url, &["--read-only"]);
    // Nothing listens there.
    command.env("STOMP_URL", "stomp://u:hunter2@127.0.0.1:1/");
    conn.batch_execute("drop index published_held").unwrap();
    let served = Served::spawn(&mut command);
    served.ann.get("checks").is(200).lacks("database.indexes");
    let page = served.ann.get("checks?run=1").is(200);
    let page = page
        .says("2 errors")
        .says("database.indexes")
        .says("create index published_held on published")
        .says("Connection refused")
        .lacks("hunter2");
    let results = texts(&page.document(), "tbody tr .state");
    assert_eq!(results[..2], ["error", "error"], "the worst first");
    served.stop();
}
