//! Bodies and values of headers: shown on request, and some of them never.

use diesel::SqliteConnection;

use crate::client::Answer;
use crate::document::texts;
use crate::served::Served;
use crate::subject::{NewRow, ROW, Subject, connect, id, literal, write, write_calls};
use crate::support;
use crate::support::TestDatabase;

const BODY: &str = r#"{"total": 1.10, "large": 12345678901234567890, "PassWord": "p-1", "nested": [{"API-key": {"p-2": "p-2"}, "api_key": 3.5, "note": "visible"}], "card_NUMBER": "p-4"}"#;
const HEADERS: &str = r#"{"x-trace": "t-1", "Authorization": "p-5", "Card-Number": "p-6"}"#;

fn shown(page: &Answer) -> String {
    texts(&page.document(), "pre").concat()
}

pub(crate) fn bodies_and_values_are_shown_on_request_but_not_those_of_some_names<C: Subject>(
    database: &TestDatabase,
) {
    let mut conn = connect::<C>(database);
    let (row, body, headers) = (id(1), literal::<C>(BODY), literal::<C>(HEADERS));
    let row = [NewRow {
        id: &row,
        body: &body,
        headers: &headers,
        ..ROW
    }];
    write(&mut conn, &row);
    write_calls(&mut conn, &row);
    conn.batch_execute(&format!(
        "insert into received (id, msg_id, headers, body) values ('{}', 'm', {headers}, {body})",
        id(1)
    ))
    .unwrap();
    let redact = "password,api_key,AUTHORIZATION,card-number";
    let served = Served::start(database, &["--web-redact", redact]);
    for page in [
        format!("message?id={}", id(1)),
        format!("call?id={}", id(1)),
        "received?message=m".to_owned(),
    ] {
        let closed = served
            .ann
            .get(&page)
            .is(200)
            .says("Show it")
            .says("x-trace 3 bytes");
        for secret in ["t-1", "visible", "p-", "12345678901234567890"] {
            assert!(!closed.body.contains(secret), "{secret} in {page}");
        }
        let open = served.ann.visit(&closed.link("Show the values")).is(200);
        let open = open
            .says("x-trace t-1")
            .says("Authorization ***")
            .lacks("visible");
        let open = served
            .ann
            .visit(&open.link("Show it"))
            .is(200)
            .says("x-trace t-1");
        let body = shown(&open);
        for part in [r#""note": "visible""#, r#": "***""#, "12345678901234567890"] {
            assert!(body.contains(part), "no {part} in {body}");
        }
        // MySQL stores decimal numbers as doubles.
        assert_eq!(body.contains("1.10"), !is_mysql::<C>(&mut conn), "{body}");
        assert_eq!(body.matches("***").count(), 4, "{body}");
        open.lacks("p-").link("Hide it");
    }
}

/// MariaDB stores the text.
fn is_mysql<C: Subject>(conn: &mut C) -> bool {
    C::NAME == "MySQL/MariaDB" && conn.number("select version() not like '%MariaDB%' as n") == 1
}

#[test]
fn what_is_no_json_is_shown_as_it_is() {
    let database = support::sqlite::<SqliteConnection>();
    let mut conn = connect::<SqliteConnection>(&database);
    let ids: Vec<String> = (0..6).map(id).collect();
    let deep = format!("'{}'", "[".repeat(100_000));
    let rows: Vec<NewRow<'_>> = ids
        .iter()
        .zip([
            "'<order password=\"x\"/>'",
            "''",
            "x'fffe00'",
            &deep,
            "'{\"a\": 1} '",
            "'{\"a\": \"\u{d7ff}\\ud800\"}'",
        ])
        .map(|(id, body)| NewRow {
            id,
            body,
            headers: "'no headers <b>'",
            ..ROW
        })
        .collect();
    write(&mut conn, &rows);
    let served = Served::start(&database, &[]);
    let body = |at: usize| {
        let page = served
            .ann
            .get(&format!("message?id={}&show=body&show=headers", ids[at]));
        page.is(200).says("no headers <b>")
    };
    assert_eq!(shown(&body(0)), "<order password=\"x\"/>");
    body(0).says("It is no JSON, so that no fields are hidden.");
    body(1);
    // A column for texts has bytes in it.
    let page = format!("message?id={}", ids[2]);
    served.ann.get(&page).is(500).says("The database refused");
    body(3);
    assert_eq!(shown(&body(4)), "{ \"a\": 1 }");
    body(5);
}

#[test]
fn a_body_of_more_than_a_mebibyte_is_not_shown() {
    let database = support::sqlite::<SqliteConnection>();
    let mut conn = connect::<SqliteConnection>(&database);
    let (least, large) = (id(1), id(2));
    let body = |length: usize| format!("'\"{}\"'", "x".repeat(length - 2));
    write(
        &mut conn,
        &[
            NewRow {
                id: &least,
                body: &body(1 << 20),
                ..ROW
            },
            NewRow {
                id: &large,
                body: &body((1 << 20) + 1),
                ..ROW
            },
        ],
    );
    let served = Served::start(&database, &[]);
    let page = |id: &str, show: &str| served.ann.get(&format!("message?id={id}{show}")).is(200);
    assert!(shown(&page(&least, "&show=body")).len() >= 1 << 20);
    for show in ["", "&show=body"] {
        let page = page(&large, show)
            .says("1,048,577 bytes")
            .says("outbox show --body");
        assert!(page.body.len() < 20_000);
    }
}
