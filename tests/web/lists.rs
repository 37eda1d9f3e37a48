//! Lists of rows: tabs, filters in the address, and pages.

use url::Url;

use crate::client::{Answer, Client};
use crate::document::{attributes, texts};
use crate::served::Served;
use crate::subject::{NewRow, PARKED, ROW, SENT, Subject, connect, id, write, write_calls};
use crate::support::TestDatabase;

/// The ids of the rows of a page.
pub(crate) fn ids(page: &Answer) -> Vec<String> {
    texts(&page.document(), "td.id")
}

/// The ids of a list, and the number of its pages.
fn all_ids(client: &Client, list: &str) -> (Vec<String>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    let mut next = Some(client.url(list));
    while let Some(url) = next {
        let page = client.visit(&url).is(200);
        let found = self::ids(&page);
        assert!(!found.is_empty() && found.len() <= 50, "{}", page.url);
        ids.extend(found);
        pages += 1;
        let document = page.document();
        let links = attributes(&document, "a[rel=next]", "href");
        next = links.first().map(|link| page.url.join(link).unwrap());
        let has_first = texts(&document, "nav.pages").concat().contains("First");
        assert_eq!(has_first, pages > 1, "{}", page.url);
    }
    (ids, pages)
}

pub(crate) fn pages_have_every_row_once<C: Subject>(database: &TestDatabase) {
    const ROWS: u64 = 120;
    let mut conn = connect::<C>(database);
    let numbers: Vec<String> = (0..3 * ROWS).map(id).collect();
    // Those of each tab are among those of the others, and many were written at the same time.
    let rows: Vec<NewRow<'_>> = numbers
        .iter()
        .enumerate()
        .map(|(at, id)| NewRow {
            id,
            ..[ROW, PARKED, SENT][at % 3]
        })
        .collect();
    write(&mut conn, &rows);
    write_calls(&mut conn, &rows);
    conn.batch_execute("update published set added = '2026-01-02 03:04:05.678901'")
        .unwrap();
    let served = Served::start(database, &[]);
    for (list, done) in [("messages", "Sent"), ("calls", "Executed")] {
        for (at, tab) in ["waiting", "parked", "done"].into_iter().enumerate() {
            let (mut found, pages) = all_ids(&served.ann, &format!("{list}?state={tab}"));
            assert_eq!(pages, 3);
            if tab != "done" {
                assert!(found.is_sorted(), "in the order of writing");
            }
            found.sort();
            let expected = numbers.iter().skip(at).step_by(3).cloned();
            assert_eq!(found, expected.collect::<Vec<_>>(), "{list} {tab}");
        }
        served.ann.get(&format!("{list}?state=done")).says(done);
        // The first tab is that of the rows that wait.
        assert_eq!(ids(&served.ann.get(list)).len(), 50);
    }
    // The latest first.
    conn.batch_execute(&format!(
        "update published set added = '2026-01-02 03:04:06.000000' where id = '{}'",
        id(8)
    ))
    .unwrap();
    let first = ids(&served.ann.get("messages?state=done"));
    assert_eq!(first[0], id(8));
}

/// A row that the filters of each case accept: that with the number.
pub(crate) fn filters_are_in_the_address<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let numbers: Vec<String> = (0..6).map(id).collect();
    let row = |at: usize, row: NewRow<'static>| NewRow {
        id: &numbers[at],
        ..row
    };
    write(
        &mut conn,
        &[
            row(0, ROW),
            NewRow {
                destination: "'/queue/100%_é'",
                ..row(1, ROW)
            },
            NewRow {
                stream: "'mail'",
                ..row(2, ROW)
            },
            NewRow {
                key: "'a&b=c'",
                ..row(3, ROW)
            },
            NewRow {
                error: "'it''s \"refused\"'",
                attempts: 1,
                ..row(4, ROW)
            },
            NewRow {
                stream: "'mail'",
                ..row(5, PARKED)
            },
        ],
    );
    conn.batch_execute(&format!(
        "update published set added = '2001-01-01 00:00:00.000000' where id = '{}'",
        numbers[0]
    ))
    .unwrap();
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    for (name, value, at) in [
        ("to", "/queue/100%_é", 1),
        ("stream", "mail", 2),
        ("key", "a&b=c", 3),
        ("error", "'s \"ref", 4),
        ("older-than", "1d 2h", 0),
    ] {
        let page = ann.get("messages");
        // As a browser sends the form.
        let filters = page.form("messages").set(name, value);
        let mut url: Url = ann.url("messages");
        url.query_pairs_mut().extend_pairs(&filters.fields);
        let page = ann.visit(&url).is(200);
        assert_eq!(ids(&page), [numbers[at].as_str()], "{name} {value}");
        // The form and the links of the tabs have the filter again.
        let field = (name.to_owned(), value.to_owned());
        assert!(page.form("messages").fields.contains(&field), "{name}");
        assert!(page.form("change-rows").fields.contains(&field), "{name}");
        let parked = ann.visit(&page.link("Parked")).is(200);
        let expected: &[String] = if name == "stream" { &numbers[5..] } else { &[] };
        assert_eq!(ids(&parked), expected, "{name}");
        if expected.is_empty() {
            parked.says("No row matches these filters.");
        }
        let cleared = ann.visit(&page.link("Clear"));
        assert_eq!(ids(&cleared).len(), 5);
    }
    let none = ann.get("messages?stream=mail&key=x").is(200);
    assert_eq!(ids(&none), [""; 0]);
    let new = ann.get("messages?newer-than=1h").is(200);
    assert_eq!(ids(&new), numbers[1..5]);
    for (query, expected) in [
        (
            "older-than=soon",
            "older-than: `soon` is not a time such as 2h or 3d 12h",
        ),
        ("newer-than=-1", "newer-than: `-1` is not a time"),
        ("state=lost", "state: `lost` is not waiting, parked or done"),
        (
            "after=x",
            "after: `x` is not a place that a page has linked to",
        ),
    ] {
        for list in ["messages", "calls"] {
            ann.get(&format!("{list}?{query}")).is(400).says(expected);
        }
    }
    // So long ago that no time of the database is it.
    for age in ["9999999d", "99999999999y"] {
        for name in ["older-than", "newer-than"] {
            ann.get(&format!("messages?{name}={age}")).is(200);
        }
    }
    ann.get("inbox?older-than=soon")
        .is(400)
        .says("older-than: `soon`");
}

pub(crate) fn an_id_leads_to_its_row_and_a_row_to_what_blocks_it<C: Subject>(
    database: &TestDatabase,
) {
    let mut conn = connect::<C>(database);
    let (first, second) = (id(1), id(2));
    let rows = [
        NewRow {
            id: &first,
            key: "'k'",
            stream: "'mail'",
            ..PARKED
        },
        NewRow {
            id: &second,
            key: "'k'",
            ..ROW
        },
    ];
    write(&mut conn, &rows);
    write_calls(&mut conn, &rows);
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    for (list, row) in [("messages", "message"), ("calls", "call")] {
        let sent = ann.get(&format!("{list}?id={second}&state=done")).is(303);
        let page = ann.visit(&sent.location()).is(200);
        assert!(page.url.path().ends_with(row), "{}", page.url);
        let page = page.says("waiting").says("an earlier row of its key");
        let blocker = ann.visit(&page.link(&first)).is(200);
        let blocker = blocker
            .says("parked")
            .says("Blocks the later rows of its key")
            .says("50");
        let error = texts(&blocker.document(), "dd");
        assert!(error.contains(&"refused".to_owned()), "{error:?}");
        let others = ann.visit(&blocker.link("mail")).is(200);
        assert_eq!(ids(&others), [first.as_str()]);
        // An id in another spelling.
        let simple = second.replace('-', "").to_uppercase();
        ann.follow(&format!("{list}?id={simple}"))
            .is(200)
            .says(&second);
        for unknown in [crate::subject::new_id(), "x".to_owned(), String::new()] {
            let url = format!("{row}?id={unknown}");
            ann.get(&url).is(404).says("no row has the id");
        }
    }
    ann.get("received?message=x")
        .is(404)
        .says("the inbox has no message");
    ann.get("job?id=x").is(404);
    ann.get(&format!("job?id={second}")).is(404);
}

pub(crate) fn the_inbox_is_listed<C: Subject>(database: &TestDatabase) {
    const ROWS: u64 = 120;
    let mut conn = connect::<C>(database);
    let values: Vec<String> = (0..ROWS)
        .map(|n| {
            let consumer = if n % 2 == 0 { "" } else { "billing" };
            format!("('{}', 'm-{n:03}', '{consumer}')", id(n))
        })
        .collect();
    conn.batch_execute(&format!(
        "insert into received (id, msg_id, consumer) values {}",
        values.join(", ")
    ))
    .unwrap();
    conn.batch_execute("update received set added = '2026-01-02 03:04:05.678901'")
        .unwrap();
    let served = Served::start(database, &[]);
    let ann = &served.ann;
    let (mut found, pages) = all_ids(ann, "inbox");
    found.sort();
    let expected: Vec<String> = (0..ROWS).map(|n| format!("m-{n:03}")).collect();
    assert_eq!((found, pages), (expected, 3));
    let (found, pages) = all_ids(ann, "inbox?consumer=billing");
    assert_eq!((found.len(), pages), (60, 2));
    let shown = ann.follow("inbox?message=m-007").is(200);
    shown
        .says("billing")
        .says("It is not stored as JSON.")
        .says(&id(7));
    ann.get("inbox?newer-than=1h")
        .is(200)
        .says("No such messages.");
}
