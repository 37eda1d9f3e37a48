//! Texts from outside: they are never markup, and control nothing.

use std::collections::BTreeSet;

use scraper::Html;

use crate::client::{Answer, Client};
use crate::document::{attributes, texts};
use crate::paths::{crawl, kinds};
use crate::served::Served;
use crate::subject::{
    LATER, NewRow, PARKED, ROW, SENT, Subject, connect, id, literal, write, write_calls,
};
use crate::support::TestDatabase;

/// Markup in texts and in attributes, quotes, and characters that control a terminal or move others.
const HOSTILE: &str = "</pre></title><script>alert(1)</script><img src=x onerror=alert(2)>\
    \"'><b onclick=x style=y>&amp;\u{1b}[2J\u{7}\u{9b}\u{202e}\r\n?x=y&z#w%41+ \u{2028}é☕";
/// What is shown of it on one line.
const SHOWN: &str = r#"</pre></title><script>alert(1)</script><img src=x onerror=alert(2)>"'><b onclick=x style=y>&amp;\u{1b}[2J\u{7}\u{9b}\u{202e}\r\n?x=y&z#w%41+ \u{2028}é☕"#;
/// Short enough for an id, and ASCII as the ids of MySQL are.
const SHORT: &str = "<b x='\"&#39;\u{1b}[2J";
const SHORT_SHOWN: &str = "<b x='\"&#39;\\u{1b}[2J";

/// A literal of the text with a NUL, if the database has such texts.
fn with_nul<C: Subject>(text: &str) -> String {
    let text = literal::<C>(text);
    match C::NAME {
        "SQLite" => format!("{text} || char(0) || 'after'"),
        "MySQL/MariaDB" => format!("concat({text}, char(0), 'after')"),
        _ => text,
    }
}

/// JSON with hostile names and values.
fn json() -> String {
    serde_json::json!({HOSTILE: HOSTILE, "list": [{"deep": HOSTILE}]}).to_string()
}

fn write_hostile<C: Subject>(conn: &mut C) -> Vec<String> {
    let text = literal::<C>(HOSTILE);
    let error = with_nul::<C>(HOSTILE);
    let (body, headers) = (literal::<C>(&json()), literal::<C>(&json()));
    // Texts are ids where the column takes them.
    let has_text_ids = C::NAME != "PostgreSQL";
    let ids: Vec<String> = (0..6)
        .map(|n| match has_text_ids {
            true => format!("{SHORT}{n}"),
            false => id(n),
        })
        .collect();
    let quoted: Vec<String> = ids.iter().map(|id| literal::<C>(id)).collect();
    let row = |at: usize, of: NewRow<'static>| NewRow {
        id: &quoted[at],
        destination: &text,
        body: &body,
        headers: &headers,
        key: "null",
        stream: "null",
        status: of.status,
        attempts: 3,
        error: &error,
        due_at: of.due_at,
    };
    let short = literal::<C>(&HOSTILE[..60]);
    let rows = [
        NewRow {
            key: &text,
            ..row(0, PARKED)
        },
        NewRow {
            key: &text,
            ..row(1, ROW)
        },
        NewRow {
            stream: &short,
            ..row(2, ROW)
        },
        row(3, SENT),
    ];
    write(conn, &rows);
    write_calls(conn, &rows);
    let unclaimed = literal::<C>(&format!("{HOSTILE} unclaimed"));
    write_calls(
        conn,
        &[NewRow {
            destination: &unclaimed,
            attempts: 0,
            ..row(5, ROW)
        }],
    );
    let leased = NewRow {
        due_at: LATER,
        ..row(4, ROW)
    };
    write(conn, &[leased]);
    conn.batch_execute(&format!(
        "update published set lease_token = '{token}' where id = {};
         update outbox_calls set added = '2001-01-01 00:00:00.000000' where id = {};
         insert into outbox_streams (name, paused) values ({short}, true);
         insert into received (id, msg_id, consumer, headers, body)
         values ({}, {text}, {text}, {headers}, {body})",
        quoted[4],
        quoted[5],
        quoted[5],
        token = id(99),
        text = literal::<C>(&HOSTILE.chars().take(100).collect::<String>()),
    ))
    .unwrap();
    ids
}

/// Fails if a page has an element that none of ours has.
#[track_caller]
fn check(page: &Answer) {
    let document: Html = page.document();
    let names: BTreeSet<&str> = document
        .tree
        .nodes()
        .filter_map(|node| node.value().as_element().map(|element| element.name()))
        .collect();
    for name in names {
        assert!(
            !matches!(name, "b" | "img" | "i" | "iframe" | "style"),
            "<{name}> in {}: {}",
            page.url,
            page.body
        );
    }
    assert_eq!(attributes(&document, "script", "src"), ["script.js"]);
    assert!(!page.body.contains("<script>alert"), "{}", page.url);
}

pub(crate) fn texts_from_outside_are_never_markup<C: Subject>(database: &TestDatabase) {
    let mut conn = connect::<C>(database);
    let ids = write_hostile(&mut conn);
    let served = Served::start(database, &[]);
    let ann: &Client = &served.ann;
    let pages = crawl(ann);
    pages.iter().for_each(check);
    let kinds = kinds(&pages);
    for kind in [
        "", "call", "calls", "inbox", "message", "messages", "received",
    ] {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
    let of = |kind: &str, query: &str| {
        let end = format!("/{kind}");
        let mut found = pages.iter().filter(|page| {
            page.url.path().ends_with(&end) && page.url.query().unwrap_or_default().contains(query)
        });
        found.next().unwrap_or_else(|| panic!("no {kind}?{query}"))
    };
    // All of it is shown, as it is written.
    for kind in ["message", "call", "received"] {
        let page = of(kind, "show=headers&show=body");
        let shown = texts(&page.document(), "dd");
        let one_space = SHOWN.split_whitespace().collect::<Vec<_>>().join(" ");
        let whole = shown
            .iter()
            .filter(|text| text.contains(&one_space))
            .count();
        assert!(whole >= 1, "{kind}: {shown:#?}");
        let body = texts(&page.document(), "pre").concat();
        assert!(body.contains("<script>alert(1)</script>"), "{body}");
        if C::NAME != "PostgreSQL" && kind != "received" {
            let title = texts(&page.document(), "title").concat();
            assert!(title.contains(SHORT_SHOWN), "{title}");
            let error = shown.iter().any(|text| text.contains(r"\u{0}after"));
            assert!(error, "{shown:#?}");
        }
    }
    let list = of("messages", "state=waiting");
    let cells = texts(&list.document(), "td");
    assert!(
        cells
            .iter()
            .any(|cell| cell.contains("<script>alert(1)</script>"))
    );
    let overview = pages.iter().find(|page| page.url == ann.start).unwrap();
    overview
        .clone()
        .says("is paused")
        .says("no executor takes calls of </pre>");

    // The pages of forms, and those of failures.
    let encoded: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    let filtered = format!("messages?state=parked&to={encoded}&error={encoded}&key={encoded}");
    let list = ann.get(&filtered).is(200);
    check(&list);
    let form = list.form("change-rows").press("retry.all");
    // HTML has one kind of line breaks.
    let error = HOSTILE.trim().replace("\r\n", "\n");
    assert!(
        form.fields.contains(&("error".to_owned(), error)),
        "{form:#?}"
    );
    let form = form.set("destination", HOSTILE);
    let asked = ann.send(&list, &form);
    check(&asked);
    let asked = asked.is(200).says("New destination: </pre>");
    let job = ann.send_and_follow(&asked, &asked.form("confirm"));
    check(&job);
    job.is(200);
    for page in [
        format!("messages?older-than={encoded}"),
        format!("messages?state={encoded}"),
        format!("messages?after={encoded}"),
        format!("message?id={encoded}"),
        format!("call?id={encoded}"),
        format!("received?message={encoded}x"),
        format!("job?id={encoded}"),
        format!("dead-letters?queue={encoded}&from={encoded}&older-than={encoded}"),
        format!("inbox?newer-than={encoded}"),
        encoded.clone(),
    ] {
        let refused = ann.get(&page);
        check(&refused);
        assert!(
            matches!(refused.status, 400 | 404),
            "{page}: {}",
            refused.status
        );
    }
    let stream = overview
        .form("change-stream")
        .set("stream", HOSTILE)
        .press("resume");
    check(&ann.send(overview, &stream));
    // Every row can be changed by its own form.
    let page = ann.follow(&format!(
        "messages?id={}",
        url::form_urlencoded::byte_serialize(ids[2].as_bytes()).collect::<String>()
    ));
    let form = page.form("change-rows").press("cancel.this");
    let done = ann
        .send_and_follow(&page, &form)
        .is(200)
        .says("It is cancelled.");
    check(&done);
    // The log has it on one line.
    let lines = served.stop();
    let logged = lines.iter().filter(|line| line.contains("a page")).count();
    assert!(logged >= 2, "{lines:#?}");
    for line in &lines {
        assert!(!line.contains(crate::document::is_unsafe), "{line:?}");
    }
}
