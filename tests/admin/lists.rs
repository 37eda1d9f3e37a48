//! Lists of rows, and a row with all it holds.

use std::sync::{Arc, Mutex};

use diesel::connection::InstrumentationEvent;
use diesel_outbox::admin::{self, Cursor, Filter, Page, Row, RowState, Rows};

use super::*;

fn page<C: Subject>(conn: &mut C, after: Option<&Cursor>, limit: usize) -> Page<Row> {
    admin::list(conn, &Filter::new(), after, limit).unwrap()
}

/// The ids of the rows that the filter accepts, read in pages of two.
fn ids<C: Subject>(conn: &mut C, filter: &Filter) -> Vec<Uuid> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = admin::list(conn, filter, after.as_ref(), 2).unwrap();
        ids.extend(
            page.rows
                .iter()
                .map(|row| Uuid::parse_str(&row.id).unwrap()),
        );
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

pub(crate) fn pages_have_every_row_once<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    assert_eq!(page(&mut conn, None, 10).rows, []);
    let written = write_all(&mut conn, 7);
    assert_eq!(ids(&mut conn, &Filter::new()), written);
    let first = page(&mut conn, None, 7);
    assert_eq!((first.rows.len(), first.next), (7, None), "no empty page");
    let first = page(&mut conn, None, 0);
    assert_eq!(first.rows.len(), 1, "at least one");
    assert_eq!(first.next, Some(first.rows[0].cursor()));
    let all = page(&mut conn, None, usize::MAX);
    assert_eq!((all.rows.len(), all.next), (7, None));
    if C::NAME == "PostgreSQL" {
        // As after the adoption of rows that Django had sent.
        execute(&mut conn, "update published set seq = 0, status = 2");
        let mut found = ids(&mut conn, &Filter::new());
        assert!(found.is_sorted(), "{found:?}");
        found.sort();
        let mut written = written;
        written.sort();
        assert_eq!(found, written);
    }
}

pub(crate) fn rows_that_change_between_pages_move_no_other<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let written = write_all(&mut conn, 8);
    let waiting = Filter::new().state(RowState::Waiting);
    let first = admin::list(&mut conn, &waiting, None, 3).unwrap();
    assert_eq!(first.rows.len(), 3);
    // Rows of the first page change and go, the last one among them; one behind it too; one is new.
    admin::cancel(&mut conn, [written[0], written[4]]).unwrap();
    execute(
        &mut conn,
        &format!("delete from published where id = '{}'", written[2]),
    );
    let last = write(&mut conn, 9);
    let (mut rest, mut after) = (Vec::new(), first.next);
    while let Some(cursor) = after {
        // A cursor survives its way through a page of the user's.
        let text = serde_json::to_string(&cursor).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        let page = admin::list(&mut conn, &waiting, Some(&cursor), 2).unwrap();
        rest.extend(page.rows.into_iter().map(|row| row.id));
        after = page.next;
    }
    let expected = [written[3], written[5], written[6], written[7], last];
    assert_eq!(rest, expected.map(|id| id.to_string()));
}

pub(crate) fn rows_are_filtered_by_state<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let written = write_all(&mut conn, 6);
    let sets = [
        ("status = -1", 0),
        ("status = 2", 1),
        // Leased; a lease that has ended; a pause after a failure.
        ("lease_token = id, due_at = '8000-01-01 00:00:00.000000'", 2),
        ("lease_token = id, due_at = '2001-01-01 00:00:00.000000'", 3),
        ("due_at = '8000-01-01 00:00:00.000000'", 4),
    ];
    for (set, row) in sets {
        let id = written[row];
        execute(
            &mut conn,
            &format!("update published set {set} where id = '{id}'"),
        );
    }
    let all: Vec<RowState> = page(&mut conn, None, 9)
        .rows
        .iter()
        .map(|row| row.state)
        .collect();
    let waits = RowState::Waiting;
    let expected = [
        RowState::Parked,
        RowState::Sent,
        RowState::Leased,
        waits,
        waits,
        waits,
    ];
    assert_eq!(all, expected);
    for state in [RowState::Parked, RowState::Sent, RowState::Leased, waits] {
        let found = ids(&mut conn, &Filter::new().state(state));
        let meant = written.iter().zip(expected).filter(|(_, it)| *it == state);
        assert_eq!(
            found,
            meant.map(|(id, _)| *id).collect::<Vec<_>>(),
            "{state}"
        );
    }
    let two = Filter::new().state(RowState::Sent).state(RowState::Parked);
    assert_eq!(ids(&mut conn, &two), written[..2]);
}

/// Those that were written last come first, also of those that were written at the same time.
pub(crate) fn the_latest_rows_that_were_sent_come_first<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let mut expected = Vec::new();
    for (at, id) in write_all(conn, 24).into_iter().enumerate() {
        // Three of each eight wait; the others have four times.
        let (time, status) = (at / 3 % 4, if at % 8 < 3 { 1 } else { 2 });
        let stream = if at % 2 == 0 { "'mail'" } else { "null" };
        execute(
            conn,
            &format!(
                "update published set status = {status}, stream = {stream},
                     added = '2026-01-02 03:04:05.00000{time}' where id = '{id}'"
            ),
        );
        if status == 2 {
            expected.push((time, id.to_string(), at % 2 == 0));
        }
    }
    expected.sort();
    expected.reverse();
    let mut pages = |filter: &Filter, limit: usize| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = Rows::Messages.list_done(conn, filter, after.as_ref(), limit);
            let page = page.unwrap();
            assert!(
                (1..=limit.max(1)).contains(&page.rows.len()),
                "no empty page"
            );
            assert!(page.rows.iter().all(|row| row.state == RowState::Sent));
            ids.extend(page.rows.into_iter().map(|row| row.id));
            // A cursor survives its way through an address.
            after = page.next.map(|cursor| cursor.to_string().parse().unwrap());
            if after.is_none() {
                return ids;
            }
        }
    };
    let all: Vec<String> = expected.iter().map(|(_, id, _)| id.clone()).collect();
    for limit in [0, 1, 2, 4, 15, usize::MAX] {
        assert_eq!(pages(&Filter::new(), limit), all, "{limit}");
    }
    let mail = expected.iter().filter(|(.., is_mail)| *is_mail);
    let mail: Vec<String> = mail.map(|(_, id, _)| id.clone()).collect();
    assert_eq!(pages(&Filter::new().stream("mail"), 2), mail);
    let none = Filter::new().state(RowState::Parked);
    let calls = Rows::Calls
        .list_done(conn, &Filter::new(), None, 9)
        .unwrap();
    assert_eq!(calls.rows, []);
    let parked = Rows::Messages.list_done(conn, &none, None, 9).unwrap();
    assert_eq!((parked.rows, parked.next), (vec![], None));
}

/// A page of sent rows costs no more than its rows, however many were sent.
pub(crate) fn a_page_of_sent_rows_is_found_by_an_index<C: Subject>(url: &str) {
    const SENT: i64 = 20_000;
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let columns = "id, destination, body, status, added";
    let statement = match C::NAME {
        "PostgreSQL" => format!(
            "insert into published ({columns}) select gen_random_uuid(), '/queue/a', '{{}}', 2,
                 timestamptz '2026-01-01 00:00:00+00' + (n / 3) * interval '1 ms'
             from generate_series(1, {SENT}) n; analyze published"
        ),
        "SQLite" => format!(
            "with recursive counted(n) as (select 1 union all select n + 1 from counted where n < {SENT})
             insert into published ({columns}) select printf('018bcfe5-6800-7707-8707-%012d', n), '/queue/a', '{{}}', 2,
                 printf('2026-01-01 00:00:%02d.%06d', n / 3000, n / 3 % 1000)
             from counted; analyze"
        ),
        _ => format!(
            "insert into published ({columns})
             with recursive counted as (select 1 as n union all select n + 1 from counted where n < {SENT})
             select concat('018bcfe5-6800-7707-8707-', lpad(n, 12, '0')), '/queue/a', '{{}}', 2,
                 timestamp('2026-01-01 00:00:00') + interval n div 3 * 1000 microsecond
             from counted"
        ),
    };
    if C::NAME == "MySQL/MariaDB" {
        // Its limits of recursion: MariaDB's and MySQL's.
        let _ = conn.batch_execute("set max_recursive_iterations = 100000");
        let _ = conn.batch_execute("set cte_max_recursion_depth = 100000");
    }
    execute(conn, &statement);
    let all = "select count(*) as n from published where status = 2";
    assert_eq!(conn.number(all), SENT);
    let first = Rows::Messages
        .list_done(conn, &Filter::new(), None, 50)
        .unwrap();
    let mut cursor = first.next;
    let mut pages = |conn: &mut C| {
        for _ in 0..4 {
            let page = Rows::Messages.list_done(conn, &Filter::new(), cursor.as_ref(), 50);
            let page = page.unwrap();
            assert_eq!(page.rows.len(), 50);
            cursor = page.next;
        }
    };
    if C::NAME == "PostgreSQL" {
        let rows = "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint as n
            from pg_stat_xact_user_tables where relname = 'published'";
        let scans = "select seq_scan::bigint as n from pg_stat_xact_user_tables where relname = 'published'";
        conn.atomically(|conn| {
            let before = (conn.number(rows), conn.number(scans));
            pages(conn);
            let read = conn.number(rows) - before.0;
            assert!((200..400).contains(&read), "{read} rows were read");
            assert_eq!(conn.number(scans), before.1, "a sequential scan");
            Ok::<_, diesel::result::Error>(())
        })
        .unwrap();
        return;
    }
    let statements = statements_of(conn, pages);
    let list = statements
        .iter()
        .find(|it| it.contains("order by added desc"));
    let (sql, _) = list.unwrap().split_once(" -- binds").unwrap();
    if C::NAME == "SQLite" {
        let plan = conn.texts(&format!("explain query plan {sql}"));
        assert!(plan[0].contains("published_settled"), "{plan:#?}");
        assert!(plan.iter().all(|line| !line.contains("SCAN")), "{plan:#?}");
    }
}

/// The statements that the work executes.
fn statements_of<C: Subject>(conn: &mut C, work: impl FnOnce(&mut C)) -> Vec<String> {
    let statements = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&statements);
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            seen.lock().unwrap().push(query.to_string());
        }
    });
    work(conn);
    statements.lock().unwrap().clone()
}

pub(crate) fn filters_take_texts_literally<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let texts = [
        "100% of it's \"all\"",
        "100x of it's \"all\"",
        r"back\slash_é",
        "'; delete from published; --",
        "{target} $1 ? :a",
    ];
    let written = texts.map(|text| {
        let message = Message::new(format!("/queue/{text}"), 1);
        let id = message
            .key(text.to_owned())
            .stream(text)
            .publish(&mut conn)
            .unwrap();
        let sql = text.replace('\'', "''");
        let sql = match C::NAME {
            "MySQL/MariaDB" => sql.replace('\\', "\\\\"),
            _ => sql,
        };
        execute(
            &mut conn,
            &format!("update published set last_error = 'so: {sql}!' where id = '{id}'"),
        );
        id
    });
    let plain = write(&mut conn, 1);
    for (text, id) in texts.iter().zip(written) {
        for filter in [
            Filter::new().key(*text),
            Filter::new().stream(*text),
            Filter::new().destination(format!("/queue/{text}")),
            Filter::new().error(*text),
            Filter::new()
                .error(*text)
                .key(*text)
                .state(RowState::Waiting),
        ] {
            assert_eq!(ids(&mut conn, &filter), [id], "{filter:?}");
        }
    }
    let none = [
        Filter::new().key("100_ of it's \"all\""),
        Filter::new().error("100_ of"),
        Filter::new().error("SO: 100"),
        Filter::new().destination("/queue/%"),
        Filter::new().destination("/queue/a").error("so"),
        Filter::new().key("a\0b"),
        Filter::new().error("\0"),
        Filter::new().key(""),
        Filter::new().key(texts[0]).state(RowState::Parked),
    ];
    for filter in none {
        assert!(ids(&mut conn, &filter).is_empty(), "{filter:?}");
    }
    assert_eq!(ids(&mut conn, &Filter::new().error("so: ")), written);
    assert_eq!(
        ids(&mut conn, &Filter::new().destination("/queue/a")),
        [plain]
    );
    assert_eq!(admin::status(&mut conn).unwrap().waiting, 6);
}

pub(crate) fn a_row_shows_where_it_stands<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let message = Message::new("/queue/a", serde_json::json!({"text": "it's é"}))
        .version("v1")
        .header("x", "y")
        .key("k".to_owned())
        .stream("mail");
    let id = message.publish(&mut conn).unwrap();
    let shown = admin::show(&mut conn, id).unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_str(&shown.body).unwrap();
    assert_eq!(body, serde_json::json!({"text": "it's é"}));
    let headers: serde_json::Value = serde_json::from_str(&shown.headers).unwrap();
    assert_eq!(headers["x"], "y");
    assert_eq!(headers["dop-msg-id"], id.to_string());
    let row = shown.row;
    assert_eq!(
        (row.id.as_str(), row.destination.as_str()),
        (id.to_string().as_str(), "/queue/a.v1")
    );
    assert_eq!(
        (row.key.as_deref(), row.stream.as_deref()),
        (Some("k"), Some("mail"))
    );
    assert_eq!((row.state, row.attempts), (RowState::Waiting, 0));
    assert_eq!(
        (row.due_at, row.expires_at, row.sent_at),
        (None, None, None)
    );
    assert_eq!((row.error.as_deref(), row.blocks_key), (None, false));
    let age = chrono::Utc::now() - row.added;
    assert!(age.num_minutes().abs() < 10, "{age}");
    assert_eq!(page(&mut conn, None, 1).rows, [row]);

    park(&mut conn, &[id], "refused");
    let parked = page(&mut conn, None, 1).rows.remove(0);
    assert_eq!((parked.state, parked.attempts), (RowState::Parked, 50));
    assert_eq!(
        (parked.error.as_deref(), parked.due_at),
        (Some("refused"), None)
    );
    assert!(parked.blocks_key);
    execute(
        &mut conn,
        "update published set status = 2, sent_at = '2026-11-28 01:02:03.000000',
             expires_at = '2027-11-28 01:02:03.000000'",
    );
    let sent = page(&mut conn, None, 1).rows.remove(0);
    assert_eq!((sent.state, sent.blocks_key), (RowState::Sent, false));
    assert_eq!(
        sent.sent_at.unwrap().to_rfc3339(),
        "2026-11-28T01:02:03+00:00"
    );
    assert_eq!(
        sent.expires_at.unwrap().to_rfc3339(),
        "2027-11-28T01:02:03+00:00"
    );
    execute(
        &mut conn,
        "update published set status = 1, due_at = '8000-01-01 00:00:00.000000', lease_token = id",
    );
    let leased = page(&mut conn, None, 1).rows.remove(0);
    assert_eq!((leased.state, leased.blocks_key), (RowState::Leased, true));
    assert_eq!(
        leased.due_at.unwrap().to_rfc3339(),
        "8000-01-01T00:00:00+00:00"
    );
}

pub(crate) fn a_row_is_shown_by_its_id_in_any_spelling<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = write(&mut conn, 1);
    for spelling in [
        id.to_string(),
        id.simple().to_string(),
        id.to_string().to_uppercase(),
        id.urn().to_string(),
        id.braced().to_string(),
    ] {
        let shown = admin::show(&mut conn, &spelling).unwrap();
        assert_eq!(shown.unwrap().row.id, id.to_string(), "{spelling}");
    }
    for unknown in ["", "4711", "it's", "a\0b", "%", "é"] {
        assert_eq!(
            admin::show(&mut conn, unknown).unwrap(),
            None,
            "{unknown:?}"
        );
    }
    assert_eq!(admin::show(&mut conn, Uuid::nil()).unwrap(), None);
    if C::NAME == "PostgreSQL" {
        return;
    }
    // Django writes ids without hyphens, and others write what they like.
    let other = Uuid::new_v4();
    for stored in [other.simple().to_string(), "order-7".to_owned()] {
        execute(
            &mut conn,
            &format!(
                "insert into published (id, destination, body) values ('{stored}', '/queue/a', '{{}}')"
            ),
        );
    }
    let shown = admin::show(&mut conn, other).unwrap().unwrap();
    assert_eq!(shown.row.id, other.simple().to_string());
    let shown = admin::show(&mut conn, "order-7").unwrap().unwrap();
    assert_eq!(
        (shown.row.id.as_str(), shown.body.as_str()),
        ("order-7", "{}")
    );
    assert_eq!(page(&mut conn, None, 9).rows.len(), 3);
}

pub(crate) fn a_pooled_connection_will_do<C: Subject>(url: &str) {
    let id = write(&mut connect::<C>(url), 1);
    let manager = diesel::r2d2::ConnectionManager::<C>::new(url);
    let pool = diesel::r2d2::Pool::builder()
        .max_size(1)
        .build(manager)
        .unwrap();
    let mut conn = pool.get().unwrap();
    assert_eq!(admin::status(&mut conn).unwrap().waiting, 1);
    assert!(admin::show(&mut conn, id).unwrap().is_some());
    assert_eq!(admin::cancel(&mut conn, [id]).unwrap().rows, 1);
    assert_eq!(admin::streams(&mut conn).unwrap(), []);
}
