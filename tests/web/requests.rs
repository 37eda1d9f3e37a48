//! Requests that change something, and those that do not.

use diesel::SqliteConnection;

use crate::client::{Answer, Client};
use crate::served::Served;
use crate::subject::{NewRow, PARKED, connect, id, new_id, status, write};
use crate::support;
use crate::support::TestDatabase;

/// A database with a parked row.
fn database() -> (TestDatabase, SqliteConnection, String) {
    let database = support::sqlite::<SqliteConnection>();
    let mut conn = connect::<SqliteConnection>(&database);
    let row = id(1);
    write(
        &mut conn,
        &[NewRow {
            id: &row,
            stream: "'mail'",
            ..PARKED
        }],
    );
    (database, conn, row)
}

/// The page of the row, and the fields that retry it.
fn retry(client: &Client, row: &str) -> (Answer, Vec<(String, String)>) {
    let page = client.get(&format!("message?id={row}")).is(200);
    let form = page.form("change-rows").press("retry.this");
    (page, form.fields)
}

const CHANGES: [&str; 4] = [
    "change-rows",
    "change-stream",
    "change-dead-letters",
    "confirm",
];

#[test]
fn only_a_form_of_our_own_page_changes_anything() {
    let (database, mut conn, row) = database();
    let served = Served::start(&database, &[]);
    let ann = &served.ann;
    let (page, fields) = retry(ann, &row);
    let url = ann.url("change-rows");
    let host = ann.start.authority().to_owned();
    let own = format!("http://{host}");
    for headers in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site"), ("origin", own.as_str())],
        vec![("sec-fetch-site", "none")],
        vec![("origin", "http://evil.example")],
        vec![("origin", "http://127.0.0.1:1")],
        vec![("origin", "null")],
        vec![("origin", "http://evil.example"), ("referer", own.as_str())],
    ] {
        let refused = ann.post(&url, &headers, &fields);
        refused.is(403).says("another site");
    }
    let change = |name: &str, value: &str| {
        let mut changed = fields.clone();
        changed.retain(|(known, _)| known != name);
        if !value.is_empty() {
            changed.push((name.to_owned(), value.to_owned()));
        }
        ann.post(&url, &[("origin", own.as_str())], &changed)
    };
    let bens = served
        .ben()
        .get("messages?state=parked")
        .form("change-rows");
    let token = bens
        .fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap();
    for wrong in ["", "x", &new_id(), &token.1, &"0".repeat(64)] {
        change("token", wrong).is(403).says("reload the page");
    }
    for (name, value) in [
        ("do", "retry"),
        ("do", "explode.this"),
        ("do", "retry.none"),
        ("of", "rows"),
        ("do", ""),
    ] {
        change(name, value).is(400);
    }
    assert_eq!(status(&mut conn, &row), -1);
    // Over plain HTTP to another machine a browser sends its origin only.
    assert_eq!(change("x", "y").is(303).location().path(), "/message");
    assert_eq!(status(&mut conn, &row), 1);
    // A program sends neither, but needs the token of a form.
    let waiting = ann
        .visit(&page.url)
        .form("change-rows")
        .press("cancel.this");
    ann.post(&url, &[], &waiting.fields).is(303);
    assert_eq!(status(&mut conn, &row), -1);
}

#[test]
fn other_methods_change_nothing() {
    let (database, mut conn, row) = database();
    let served = Served::start(&database, &[]);
    let ann = &served.ann;
    let (_, fields) = retry(ann, &row);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&fields)
        .finish();
    for page in CHANGES {
        let url = ann.url(&format!("{page}?{query}"));
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let refused = ann
                .request(method, &url, &headers, query.as_bytes())
                .is(405);
            assert!(refused.header("allow").is_some(), "{method} {page}");
        }
        // What is in the address of a POST does not count.
        ann.post(&url, &[], &[]).is(403);
    }
    for page in ["", "messages", "message", "job", "inbox"] {
        ann.post(&ann.url(page), &[], &fields).is(405);
    }
    assert_eq!(status(&mut conn, &row), -1);
    ann.get("nothing").is(404).says("there is no such page");
    ann.get("style.css/x").is(404);
    for page in ["style.css", "script.js"] {
        ann.get(page).is(200);
    }
    let head = ann.request("HEAD", &ann.url("messages"), &[], b"").is(200);
    assert_eq!(head.body, "");
}

#[test]
fn forms_that_are_too_large_or_no_forms_are_refused() {
    let (database, mut conn, row) = database();
    let served = Served::start(&database, &[]);
    let ann = &served.ann;
    let (page, mut fields) = retry(ann, &row);
    let url = page.url.join("change-rows").unwrap();
    let json = [("content-type", "application/json")];
    ann.request("POST", &url, &json, b"{\"do\":\"retry.this\"}")
        .is(403);
    ann.request("POST", &url, &[], &[0xff, 0xfe, 0]).is(403);
    fields.push(("x".to_owned(), "x".repeat(2 << 20)));
    let refused = ann.post(&url, &[], &fields);
    assert!(matches!(refused.status, 400 | 413), "{}", refused.status);
    assert_eq!(status(&mut conn, &row), -1);
}

#[test]
fn read_only_pages_show_no_form_that_changes_and_refuse_all() {
    let (database, mut conn, row) = database();
    let changing = Served::start(&database, &[]);
    let (_, fields) = retry(&changing.ann, &row);
    let served = Served::start(&database, &["--read-only"]);
    let ann = &served.ann;
    for page in [
        String::new(),
        "messages?state=parked".to_owned(),
        "messages?state=waiting".to_owned(),
        "messages?state=done".to_owned(),
        format!("message?id={row}"),
        "calls".to_owned(),
        "dead-letters".to_owned(),
        "inbox".to_owned(),
    ] {
        let shown = ann.get(&page).is(200).says("read-only");
        assert!(!shown.body.contains("method=\"post\""), "{page}");
        assert!(!shown.body.contains("type=\"checkbox\""), "{page}");
        assert!(!shown.body.contains("name=\"token\""), "{page}");
    }
    for page in CHANGES {
        let refused = ann.post(&ann.url(page), &[], &fields).is(403);
        refused.says("these pages are read-only");
    }
    assert_eq!(status(&mut conn, &row), -1);
}
