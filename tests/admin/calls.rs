//! Operations on function calls.

use std::time::Duration;

use diesel_outbox::admin::{Filter, RowState, Rows};
use diesel_outbox::calls::{Call, write_all};
use diesel_outbox::outboxed;

use super::*;

#[outboxed(name = "shop.charge")]
fn charge(order: i64, email: &str) {
    let _ = (order, email);
}

#[outboxed]
fn other() {}

fn call(order: i64) -> charge {
    charge {
        order,
        email: "ann".to_owned(),
    }
}

pub(crate) fn calls_are_listed_apart_from_messages<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    write(conn, 1);
    let ids = write_all(conn, (0..3).map(|order| call(order).key(order))).unwrap();
    let last = other::later(conn).unwrap();
    let filter = Filter::new().destination("shop.charge");
    let first = Rows::Calls.list(conn, &filter, None, 2).unwrap();
    let second = Rows::Calls
        .list(conn, &filter, first.next.as_ref(), 2)
        .unwrap();
    assert_eq!(second.next, None);
    let mut found: Vec<String> = first.rows.iter().map(|row| row.id.clone()).collect();
    found.extend(second.rows.iter().map(|row| row.id.clone()));
    assert_eq!(found, ids.iter().map(Uuid::to_string).collect::<Vec<_>>());
    assert_eq!(first.rows[1].key.as_deref(), Some("1"));
    let shown = Rows::Calls.show(conn, ids[2]).unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_str(&shown.body).unwrap();
    assert_eq!(body, serde_json::json!({"order": 2, "email": "ann"}));
    assert_eq!(shown.row.destination, "shop.charge");
    assert!(diesel_outbox::admin::show(conn, last).unwrap().is_none());
    assert_eq!(Rows::Messages.count(conn).unwrap().waiting, 1);
}

pub(crate) fn calls_are_changed_and_deleted<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    write(conn, 1);
    let ids = write_all(conn, (0..3).map(call)).unwrap();
    execute(
        conn,
        &format!("update outbox_calls set status = 2 where id = '{}'", ids[2]),
    );
    let changed = Rows::Calls.cancel(conn, &ids).unwrap();
    assert_eq!((changed.rows, changed.unchanged.len()), (2, 1));
    assert_eq!(changed.unchanged[0].state, Some(RowState::Executed));
    assert!(changed.unchanged[0].to_string().ends_with("(executed)"));
    let shown = Rows::Calls.show(conn, ids[2]).unwrap().unwrap();
    assert_eq!(shown.row.state, RowState::Executed);
    for state in [RowState::Executed, RowState::Sent] {
        let filter = Filter::new().state(state);
        let page = Rows::Calls.list(conn, &filter, None, 9).unwrap();
        let states: Vec<RowState> = page.rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [RowState::Executed]);
    }
    assert_eq!(Rows::Calls.skip(conn, &ids[..1]).unwrap().rows, 1);
    assert_eq!(Rows::Calls.retry(conn, &ids[..1]).unwrap().rows, 1);
    assert_eq!(Rows::Calls.retry_all(conn).unwrap(), 1);
    let counts = Rows::Calls.count(conn).unwrap();
    assert_eq!((counts.waiting, counts.parked, counts.done), (2, 0, 1));
    assert!(counts.oldest_waiting.is_some());
    assert_eq!(
        Rows::Calls.clean(conn, Duration::from_secs(3600)).unwrap(),
        0
    );
    assert_eq!(Rows::Calls.clean(conn, Duration::ZERO).unwrap(), 1);
    assert_eq!(Rows::Calls.count(conn).unwrap().done, 0);
    assert_eq!(Rows::Messages.count(conn).unwrap().waiting, 1);
}
