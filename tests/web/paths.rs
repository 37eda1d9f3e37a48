//! The pages below any path: every link of every page leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use diesel::SqliteConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_outbox::config::Config;
use diesel_outbox::web::{Dashboard, User};

use crate::client::{Answer, Client};
use crate::served::{ANN, Served};
use crate::subject::{NewRow, PARKED, ROW, SENT, connect, count, id, status, write, write_calls};
use crate::support;
use crate::support::TestDatabase;

/// Visits all pages to which a page of the site links, with the values of headers and bodies.
pub(crate) fn crawl(client: &Client) -> Vec<Answer> {
    let mut to_visit = vec![client.start.clone()];
    let (mut seen, mut pages) = (BTreeSet::new(), Vec::new());
    while let Some(mut url) = to_visit.pop() {
        url.set_fragment(None);
        if !seen.insert(url.clone()) {
            continue;
        }
        assert!(seen.len() < 1_000, "{seen:#?}");
        assert!(
            url.path().starts_with(client.start.path()),
            "{url} is outside of {}",
            client.start
        );
        let answer = client.visit(&url);
        if answer.status == 303 {
            to_visit.push(answer.location());
            continue;
        }
        let answer = answer.is(200);
        if url.path().ends_with(".css") || url.path().ends_with(".js") {
            continue;
        }
        to_visit.extend(answer.links());
        for asset in ["style.css", "script.js"] {
            assert!(answer.body.contains(&format!("\"{asset}\"")));
            to_visit.push(url.join(asset).unwrap());
        }
        pages.push(answer);
    }
    pages
}

/// The number of pages by the last part of their addresses.
pub(crate) fn kinds(pages: &[Answer]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for page in pages {
        let name = page.url.path().rsplit('/').next().unwrap();
        *kinds.entry(name.to_owned()).or_default() += 1;
    }
    kinds
}

/// One row of each kind.
fn database() -> TestDatabase {
    let database = support::sqlite::<SqliteConnection>();
    let mut conn = connect::<SqliteConnection>(&database);
    let ids: Vec<String> = (0..60).map(id).collect();
    let mut rows: Vec<NewRow<'_>> = ids.iter().map(|id| NewRow { id, ..ROW }).collect();
    rows[0] = NewRow {
        key: "'k'",
        stream: "'mail'",
        id: &ids[0],
        ..PARKED
    };
    rows[1] = NewRow {
        key: "'k'",
        stream: "'mail'",
        ..rows[1]
    };
    rows[2] = NewRow {
        id: &ids[2],
        ..SENT
    };
    rows[3] = NewRow {
        attempts: 2,
        error: "'refused'",
        ..rows[3]
    };
    write(&mut conn, &rows);
    write_calls(
        &mut conn,
        &[PARKED, ROW, SENT].map(|row| NewRow {
            id: &ids[usize::try_from(row.status + 1).unwrap()],
            destination: "'charge'",
            ..row
        }),
    );
    use diesel::connection::SimpleConnection;
    conn.batch_execute(
        "insert into received (id, msg_id, consumer, headers, body) values ('i', 'm', 'billing', '{}', '{}');
         insert into outbox_streams (name, paused) values ('mail', true)",
    )
    .unwrap();
    database
}

#[track_caller]
fn crawl_all(client: &Client) {
    let pages = crawl(client);
    let kinds = kinds(&pages);
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let expected = [
        "",
        "call",
        "calls",
        "checks",
        "dead-letters",
        "inbox",
        "message",
        "messages",
        "received",
    ];
    assert_eq!(names, expected);
    assert!(
        kinds["message"] >= 4 * 50 && kinds["call"] == 3 * 4,
        "{kinds:?}"
    );
    let shown = pages
        .iter()
        .filter(|page| page.url.query().unwrap_or_default().contains("show=body"));
    assert!(shown.count() > 100);
}

/// Retries the parked row by its form, and goes back.
fn change_a_row(client: &Client, database: &TestDatabase) {
    let mut conn = connect::<SqliteConnection>(database);
    let list = client.get("messages?state=parked").is(200);
    let form = list
        .form("change-rows")
        .with("id", &id(0))
        .press("retry.selected");
    let asked = client.send(&list, &form).is(200);
    let confirmed = client.send_and_follow(&asked, &asked.form("confirm"));
    assert!(confirmed.url.path().starts_with(client.start.path()));
    confirmed.says("Done").says("1 to be sent again");
    assert_eq!(status(&mut conn, &id(0)), 1);
    assert_eq!(count(&mut conn, "status = -1"), 0);
}

#[test]
fn every_link_leads_somewhere() {
    let database = database();
    let served = Served::start(&database, &[]);
    crawl_all(&served.ann);
    change_a_row(&served.ann, &database);
}

#[test]
fn a_proxy_may_leave_a_path_as_it_is() {
    let database = database();
    let served = Served::start(&database, &["--path", "/ops/outbox/"]);
    let ann = &served.ann;
    assert_eq!(ann.start.path(), "/ops/outbox/");
    for outside in ["/", "/ops/outbox"] {
        let answer = ann.visit(&ann.start.join(outside).unwrap());
        assert!(matches!(answer.status, 307 | 308), "{answer:?}");
        assert_eq!(answer.location(), ann.start);
    }
    for outside in ["/ops", "/messages", "/ops/outboxes"] {
        ann.visit(&ann.start.join(outside).unwrap()).is(404);
    }
    crawl_all(ann);
    change_a_row(ann, &database);
    for wrong in ["outbox", "/a b", "/a//b", "/ä", "/a?b"] {
        let output = crate::served::web_with_tokens(&database.url, &["--path", wrong])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
    }
}

/// A proxy that removes a path, as nginx does for `proxy_pass http://…/`, and closes connections that ask for a page.
/// Returns its address.
pub(crate) fn proxy(server: String, path: &'static str, refused: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server) = (client.unwrap(), server.clone());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match client.read(&mut piece).unwrap() {
                        0 => return,
                        length => request.extend_from_slice(&piece[..length]),
                    }
                }
                let space = request.iter().position(|byte| *byte == b' ').unwrap();
                let rest = &request[space + 1..];
                assert!(rest.starts_with(path.as_bytes()), "a request of {path}");
                if !refused.is_empty() && rest[path.len()..].starts_with(refused.as_bytes()) {
                    return;
                }
                request.drain(space + 1..=space + path.len());
                // Only the first request of a connection is looked at.
                let text = String::from_utf8(request).unwrap();
                let request = text.replace("Connection: keep-alive", "Connection: close");
                let mut upstream = TcpStream::connect(server).unwrap();
                upstream.write_all(request.as_bytes()).unwrap();
                let (mut from, mut to) =
                    (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut upstream, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn a_proxy_may_remove_a_path() {
    let database = database();
    let served = Served::start(&database, &[]);
    let address = proxy(
        served.stranger.start.authority().to_owned(),
        "/ops/outbox",
        "",
    );
    let ann = Client::new(&format!("http://{address}/ops/outbox/")).with_token(ANN);
    crawl_all(&ann);
    change_a_row(&ann, &database);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_may_nest_the_pages() {
    let database = database();
    let config = Config::builder().set("database_url", database.url.as_str());
    let config = config.build().unwrap();
    let manager = ConnectionManager::<SqliteConnection>::new(&database.url);
    let pool = Pool::builder().max_size(6).build(manager).unwrap();
    let pages = Dashboard::with_pool(pool, &config).unwrap();
    let pages = pages.without_login().router().unwrap();
    let named = from_fn(|mut request: Request, next: Next| {
        request.extensions_mut().insert(User("zoe <i>".to_owned()));
        next.run(request)
    });
    let inner = Router::new().nest_service("/outbox", pages).layer(named);
    let application = Router::new().nest("/x", inner);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, application).await });
    let work = tokio::task::spawn_blocking(move || {
        let client = Client::new(&format!("http://{address}/x/outbox/"));
        let outside = client
            .visit(&client.start.join("/x/outbox").unwrap())
            .is(308);
        assert_eq!(outside.location(), client.start);
        client.get("").is(200).says("zoe <i>");
        client.get("nothing").is(404);
        crawl_all(&client);
        change_a_row(&client, &database);
    });
    work.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_may_show_them_only() {
    let database = database();
    let config = Config::builder().set("database_url", database.url.as_str());
    let pages = Dashboard::new(&config.build().unwrap()).unwrap();
    let pages = pages.without_login().read_only().router().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let work = tokio::task::spawn_blocking(move || {
        let client = Client::new(&format!("http://{address}/"));
        client.get("").is(200).says("anonymous").says("read-only");
        let url = client.url("change-rows");
        client.post(&url, &[], &[]).is(403).says("read-only");
    });
    work.await.unwrap();
}
