//! Another destination for parked rows, a second sending, deletion.

use diesel_outbox::admin::{self, Action, AdminError, Filter, RowDetails, RowState};
use diesel_outbox::signing::{self, Keys};
use serde_json::{Value, json};

use super::*;

fn shown<C: Subject>(conn: &mut C, id: Uuid) -> RowDetails {
    admin::show(conn, id).unwrap().unwrap()
}

fn headers(row: &RowDetails) -> Value {
    serde_json::from_str(&row.headers).unwrap()
}

fn keys() -> Keys {
    Keys::parse("new:fedcba9876543210,old:0123456789abcdef").unwrap()
}

pub(crate) fn parked_rows_get_another_destination<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let message = || {
        Message::new("/queue/mial", json!({"a": 1}))
            .version("v1")
            .header("x", "y")
    };
    let ids = [(); 3].map(|()| message().publish(conn).unwrap());
    park(conn, &ids[..2], "no such queue");
    let changed = admin::redirect(conn, "/queue/it's \u{1b} \"é\".v1", ids).unwrap();
    assert_eq!((changed.rows, changed.unchanged.len()), (2, 1));
    assert_eq!(changed.unchanged[0].state, Some(RowState::Waiting));
    let row = shown(conn, ids[0]);
    assert_eq!(row.row.destination, "/queue/it's \u{1b} \"é\".v1");
    assert_eq!((row.row.state, row.row.attempts), (RowState::Waiting, 0));
    assert_eq!(headers(&row)["dop-msg-destination"], row.row.destination);
    assert_eq!(headers(&row)["x"], "y");
    assert_eq!(row.signature, None);
    assert_eq!(shown(conn, ids[2]).row.destination, "/queue/mial.v1");
    park(conn, &ids[1..2], "no such queue");
    admin::redirect(conn, "/queue/mail", [ids[1]]).unwrap();
    // The version of the first one is a part of its destination, that of the second one is not.
    execute(conn, "delete from published where version is null");
    assert!(admin::show(conn, ids[1]).unwrap().is_none());
    assert_eq!(admin::status(conn).unwrap().waiting, 2);
    for destination in ["", " ", "a\0b", &"é".repeat(256)] {
        let refused = admin::redirect(conn, destination, ids);
        assert!(
            matches!(refused, Err(AdminError::Destination)),
            "{refused:?}"
        );
        let all = admin::matching(conn, Action::Retry, &Filter::new()).unwrap();
        assert!(matches!(
            all.redirected_to(destination),
            Err(AdminError::Destination)
        ));
    }
    let all = admin::matching(conn, Action::Cancel, &Filter::new()).unwrap();
    assert!(matches!(
        all.redirected_to("/queue/a"),
        Err(AdminError::NotRedirectable)
    ));
    assert_eq!(
        admin::redirect(conn, &"é".repeat(255), ids).unwrap().rows,
        0
    );
}

pub(crate) fn all_rows_of_a_wrong_destination_are_mended<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    conn.atomically(|conn| {
        write_all(conn, 602);
        Ok::<_, diesel::result::Error>(())
    })
    .unwrap();
    execute(conn, "update published set status = -1");
    // Another writer's headers: without the header, and, where the column holds any text, no object at all.
    let odd = match C::NAME {
        "SQLite" => "no JSON",
        _ => "[1]",
    };
    let first = admin::list(conn, &Filter::new(), None, 1)
        .unwrap()
        .rows
        .remove(0)
        .id;
    execute(
        conn,
        &format!("update published set headers = '{odd}' where id = '{first}'"),
    );
    let other = Message::new("/queue/b", 1).publish(conn).unwrap();
    park(conn, &[other], "refused");
    let wrong = Filter::new().destination("/queue/a");
    let wrong = admin::matching(conn, Action::Retry, &wrong).unwrap();
    let right = wrong.redirected_to("/queue/right").unwrap();
    assert_eq!(right.apply(conn, |_| {}).unwrap(), 602);
    let right = Filter::new()
        .destination("/queue/right")
        .state(RowState::Waiting);
    let page = admin::list(conn, &right, None, 1_000).unwrap();
    assert_eq!(page.rows.len(), 602);
    let first = admin::show(conn, &page.rows[0].id).unwrap().unwrap();
    assert_eq!(first.headers, odd);
    let second = admin::show(conn, &page.rows[1].id).unwrap().unwrap();
    assert_eq!(headers(&second)["dop-msg-destination"], "/queue/right");
    assert_eq!(shown(conn, other).row.state, RowState::Parked);
}

pub(crate) fn a_signed_row_is_signed_again<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let old = Keys::parse("old:0123456789abcdef").unwrap();
    let due = "2100-01-01T00:00:00.5Z".parse().unwrap();
    let ids = signing::with_keys(&old, || {
        [Some(due), None].map(|due| {
            let message = Message::new("/queue/mial", json!({"total": 1.5})).key("k".to_owned());
            let message = match due {
                Some(due) => message.due_at(due),
                None => message,
            };
            message.publish(conn).unwrap()
        })
    });
    let unsigned = write(conn, 1);
    let all = [ids[0], ids[1], unsigned];
    park(conn, &all, "no such queue");
    let before = shown(conn, ids[0]);
    let refused = admin::redirect(conn, "/queue/mail", [unsigned, ids[0]]);
    match refused {
        Err(AdminError::Signed { id }) => assert_eq!(id, ids[0].to_string()),
        other => panic!("{other:?}"),
    }
    assert_eq!(shown(conn, ids[0]), before);
    assert_eq!(
        shown(conn, unsigned).row.state,
        RowState::Parked,
        "nothing was changed"
    );
    let redirect = |conn: &mut C, to: &str| {
        signing::with_keys(&keys(), || {
            let all = admin::matching(conn, Action::Retry, &Filter::new()).unwrap();
            all.redirected_to(to).unwrap().apply(conn, |_| {})
        })
    };
    assert_eq!(redirect(conn, "/queue/mail").unwrap(), 3);
    for (id, start) in [(ids[0], "v1:new:4102444800500000:"), (ids[1], "v1:new::")] {
        let row = shown(conn, id);
        assert_eq!(row.row.destination, "/queue/mail");
        assert!(row.signature.unwrap().starts_with(start), "with its time");
    }
    assert_eq!(
        shown(conn, unsigned).signature,
        None,
        "nobody has vouched for it"
    );
    // The new signatures are valid, or the rows would be refused.
    park(conn, &all, "again");
    assert_eq!(redirect(conn, "/queue/other").unwrap(), 3);
    park(conn, &all, "again");
    execute(
        conn,
        &format!("update published set body = '2' where id = '{}'", ids[1]),
    );
    match redirect(conn, "/queue/third") {
        Err(AdminError::InvalidSignature { id, reason }) => {
            assert_eq!(id, ids[1].to_string());
            assert!(reason.contains("was changed"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for id in all {
        let row = shown(conn, id).row;
        assert_eq!(
            (row.state, row.destination.as_str()),
            (RowState::Parked, "/queue/other")
        );
    }
}

/// A rule of a relay may have given the row its key after it was signed.
pub(crate) fn a_key_that_a_rule_gave_is_signed_then<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let redirect = |conn: &mut C, id: Uuid, to: &str| {
        signing::with_keys(&keys(), || admin::redirect(conn, to, [id]))
    };
    let id = signing::with_keys(&keys(), || write(conn, 1));
    park(conn, &[id], "refused");
    let column = if C::NAME == "MySQL/MariaDB" {
        "`key`"
    } else {
        "key"
    };
    execute(
        conn,
        &format!("update published set {column} = 'destination:/queue/a'"),
    );
    assert_eq!(redirect(conn, id, "/queue/b").unwrap().rows, 1);
    park(conn, &[id], "refused");
    assert_eq!(redirect(conn, id, "/queue/c").unwrap().rows, 1);
    park(conn, &[id], "refused");
    execute(
        conn,
        &format!("update published set {column} = 'destination:/queue/a2'"),
    );
    let refused = redirect(conn, id, "/queue/d");
    assert!(
        matches!(refused, Err(AdminError::InvalidSignature { .. })),
        "{refused:?}"
    );
}

pub(crate) fn sent_rows_are_sent_again_and_parked_ones_deleted<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let ids = write_all(conn, 3);
    park(conn, &ids[1..2], "refused");
    execute(
        conn,
        &format!(
            "update published set status = 2, sent_at = '2026-11-28 01:02:03.000000', retry = 3,
                 expires_at = '2026-11-29 01:02:03.000000' where id = '{}'",
            ids[0]
        ),
    );
    let again = admin::resend(conn, &ids).unwrap();
    assert_eq!((again.rows, again.unchanged.len()), (1, 2));
    let row = shown(conn, ids[0]).row;
    assert_eq!((row.state, row.attempts), (RowState::Waiting, 0));
    assert_eq!((row.expires_at, row.blocks_key), (None, false));
    let deleted = admin::delete(conn, ids.iter().map(|id| id.simple())).unwrap();
    assert_eq!((deleted.rows, deleted.unchanged.len()), (1, 2));
    assert!(admin::show(conn, ids[1]).unwrap().is_none());
    let lease = std::time::Duration::from_secs(60);
    let table = diesel_outbox::backend::PUBLISHED;
    let claimed = conn.claim(table, Uuid::new_v4(), lease, 10).unwrap();
    assert_eq!(claimed.len(), 2, "it is sent again");
}
