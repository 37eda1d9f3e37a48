//! Rows of the inbox, and what a list and a row show beside the rows themselves.

use diesel_outbox::admin::{self, Cursor, InboxFilter, ReceivedRow};

use super::*;

/// The messages that the filter accepts, read in pages of two; the cursors go through text.
fn messages<C: Subject>(conn: &mut C, filter: &InboxFilter) -> Vec<String> {
    let (mut rows, mut after) = (Vec::<ReceivedRow>::new(), None::<Cursor>);
    loop {
        let page = admin::list_inbox(conn, filter, after.as_ref(), 2).unwrap();
        rows.extend(page.rows);
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().unwrap());
    }
    let names = rows.into_iter().map(|row| row.message_id);
    names.map(Option::unwrap_or_default).collect()
}

pub(crate) fn the_inbox_is_listed_and_shown<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let hostile = "it's \u{1b}[2J \u{202e}100%";
    let sql = hostile.replace('\'', "''");
    // Three of them at the same time.
    for (number, message, consumer, second) in [
        (1, "a", "", 1),
        (4, "b", "billing", 2),
        (2, &sql, "", 2),
        (3, "b", "mail", 2),
        (5, "d", "", 3),
    ] {
        execute(
            conn,
            &format!(
                "insert into received (id, msg_id, consumer, retry, added, headers, body)
                 values ('00000000-0000-0000-0000-00000000000{number}', '{message}', '{consumer}', 2,
                     '2001-01-01 01:00:0{second}.500000', '{{\"x\": \"y\"}}', null)"
            ),
        );
    }
    let all = InboxFilter::new();
    assert_eq!(messages(conn, &all), ["a", hostile, "b", "b", "d"]);
    let named = all.clone().message("d").message(hostile);
    assert_eq!(messages(conn, &named), [hostile, "d"]);
    assert_eq!(messages(conn, &all.clone().consumer("mail")), ["b"]);
    assert_eq!(
        messages(conn, &all.clone().consumer("")),
        ["a", hostile, "d"]
    );
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(messages(conn, &all.clone().newer_than(hour)), [""; 0]);
    assert_eq!(
        messages(conn, &all.clone().older_than(hour).consumer("mail")),
        ["b"]
    );
    assert_eq!(messages(conn, &all.clone().message("a\0")), [""; 0]);
    let both = admin::show_inbox(conn, "b").unwrap();
    let consumers: Vec<&str> = both.iter().map(|it| it.row.consumer.as_str()).collect();
    assert_eq!(consumers, ["mail", "billing"]);
    let headers: serde_json::Value =
        serde_json::from_str(both[0].headers.as_ref().unwrap()).unwrap();
    assert_eq!((headers["x"].as_str(), &both[0].body), (Some("y"), &None));
    assert_eq!(both[0].row.failed_attempts, 2);
    assert_eq!(
        both[0].row.handled_at.to_rfc3339(),
        "2001-01-01T01:00:02.500+00:00"
    );
    let by_row = admin::show_inbox(conn, "00000000-0000-0000-0000-000000000005").unwrap();
    assert_eq!(by_row[0].row.message_id.as_deref(), Some("d"));
    for unknown in ["c", "a\0", ""] {
        assert!(admin::show_inbox(conn, unknown).unwrap().is_empty());
    }
}

pub(crate) fn a_row_names_the_one_that_blocks_it<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let ids = [1, 2, 3].map(|body| {
        let message = Message::new("/queue/a", body).key("it's".to_owned());
        message.publish(conn).unwrap()
    });
    let other = write(conn, 4);
    let blocker = |conn: &mut C, id: Uuid| admin::show(conn, id).unwrap().unwrap().blocked_by;
    assert_eq!(blocker(conn, ids[2]), None);
    park(conn, &ids[..1], "refused");
    execute(
        conn,
        &format!(
            "update published set due_at = '8000-01-01 00:00:00.000000' where id = '{}'",
            ids[1]
        ),
    );
    assert_eq!(blocker(conn, ids[2]), Some(ids[0].to_string()));
    assert_eq!(blocker(conn, ids[0]), None, "it is parked");
    assert_eq!(blocker(conn, other), None);
    admin::skip(conn, [ids[0]]).unwrap();
    assert_eq!(blocker(conn, ids[2]), Some(ids[1].to_string()));
    assert_eq!(blocker(conn, ids[1]), None);
}
