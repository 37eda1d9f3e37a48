//! A commit wakes the relays of its own outbox.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::Dialect;
use diesel_outbox::{Message, in_schema};

use crate::place::{Place, number};

fn write(conn: &mut PgConnection, schema: &str) {
    in_schema(schema, || {
        Message::new("/queue/a", 1).publish(conn).unwrap()
    });
}

/// Whether a session that watches for rows in `schema` received a notification.
fn has_news(conn: &mut PgConnection, schema: &str) -> bool {
    // What was committed before is delivered with the answer to this.
    number(conn, "select 1::bigint as n");
    in_schema(schema, || conn.has_news(&mut ()).unwrap())
}

#[test]
fn rows_in_another_schema_are_no_news() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    let (mut conn, mut watch) = (place.connect("nowhere"), place.connect("nowhere"));
    watch.begin_watch().unwrap();
    write(&mut conn, "b");
    assert!(!has_news(&mut watch, "a"));
    write(&mut conn, "a");
    assert!(has_news(&mut watch, "a"));
    conn.transaction(|conn| {
        write(conn, "b");
        write(conn, "a");
        diesel::QueryResult::Ok(())
    })
    .unwrap();
    assert!(has_news(&mut watch, "a"));
    assert!(!has_news(&mut watch, "a"), "all of it was read");
}

/// Older versions of the trigger name no schema, and older relays read none.
#[test]
fn versions_wake_each_other() {
    let Some(place) = Place::with_outboxes(&["a"]) else {
        return;
    };
    let (mut conn, mut watch) = (place.connect("nowhere"), place.connect("nowhere"));
    watch.begin_watch().unwrap();
    write(&mut conn, "a");
    number(&mut watch, "select 1::bigint as n");
    let notifications: Vec<_> = watch.notifications_iter().map(Result::unwrap).collect();
    assert_eq!(notifications.len(), 1);
    assert_eq!(
        (
            notifications[0].channel.as_str(),
            notifications[0].payload.as_str()
        ),
        ("outbox", "a")
    );

    conn.batch_execute(
        "create or replace function a.outbox_wake() returns trigger language plpgsql as $$
         begin perform pg_notify('outbox', ''); return null; end $$",
    )
    .unwrap();
    write(&mut conn, "a");
    assert!(has_news(&mut watch, "a"));
}
