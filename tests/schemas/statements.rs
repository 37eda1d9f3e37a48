//! Every statement of ours means the schema that was named.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::{Failure, Inbox, Outbox, Table, Upkeep, Verdict};
use diesel_outbox::{Message, Publish, Save, cancel, in_schema, publish};
use uuid::Uuid;

use crate::place::Place;

const MINUTE: Duration = Duration::from_secs(60);

diesel::table! {
    orders (id) {
        id -> Integer,
        total -> BigInt,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders")]
struct Order {
    id: i32,
    total: i64,
}

/// Everything that a relay, a subscriber and an operator do, on a session whose search path has none
/// of our tables.
#[test]
fn none_is_left_to_the_search_path() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    let conn = &mut place.connect("nowhere");
    in_schema("a", || {
        conn.check_tables().unwrap();
        let write = |conn: &mut PgConnection, key: Option<&str>| {
            Message::new("/queue/a", 1)
                .key(key.map(str::to_owned))
                .stream("s")
                .publish(conn)
                .unwrap()
        };
        let ids: Vec<Uuid> = (0..6).map(|_| write(conn, Some("k"))).collect();
        let token = Uuid::new_v4();
        let scope = diesel_outbox::backend::Scope {
            streams: vec!["s".to_owned()],
            set_aside: vec!["/queue/other".to_owned()],
            ordered_streams: vec!["s".to_owned()],
            own_keys: vec!["k".to_owned()],
            own_tokens: vec![token],
            from: Some(0),
            ..Default::default()
        };
        let rows = conn.claim_in(&scope, token, MINUTE, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
        let rows: Vec<_> = rows.iter().map(|row| row.row()).collect();
        assert_eq!(conn.settle_sent(token, &rows[..2]).unwrap(), 2);
        assert_eq!(conn.under(token, &rows).unwrap(), rows[2..]);
        assert_eq!(conn.not_locked(&rows).unwrap(), rows);
        let failure = |row| Failure {
            row,
            verdict: Verdict::Park,
            reason: "refused".to_owned(),
        };
        let failures = [failure(rows[2]), failure(rows[3])];
        assert_eq!(conn.settle_failed(token, &failures).unwrap(), 2);
        assert_eq!(conn.release(token, &rows[4..5]).unwrap(), 1);
        assert_eq!(conn.release_all(token).unwrap(), 1);
        assert_eq!(conn.retry_failed(&ids[2..3]).unwrap(), 1);
        assert_eq!(conn.retry_failed::<Uuid>(&[]).unwrap(), 1);
        assert_eq!(conn.cancel(&ids[4..]).unwrap(), 2);
        assert_eq!(conn.skip_failed(&ids[4..]).unwrap(), 2);
        assert!(conn.last_waiting().unwrap().is_some());

        conn.pause_stream("slow", true).unwrap();
        assert!(conn.knows_stream("slow").unwrap() && conn.knows_stream("s").unwrap());
        assert_eq!(conn.streams().unwrap(), ["s", "slow"]);
        assert_eq!(conn.paused_streams().unwrap(), ["slow"]);
        assert!(conn.begin_job("clean", MINUTE).unwrap());
        assert_eq!(conn.waiting().unwrap().0, 2);

        assert!(!conn.is_received("m", "c").unwrap());
        conn.begin_again("m", "c").unwrap();
        conn.end_begun("m", "c").unwrap();
        conn.begun("m", "c").unwrap();
        conn.forget_begun("m", "c").unwrap();
        let open = conn.begin_inbox().unwrap();
        conn.roll_back_inbox(open);

        let counts = conn.counts().unwrap();
        assert_eq!((counts.waiting, counts.failed, counts.sent), (2, 2, 2));
        for table in [Table::Published, Table::Received, Table::Deliveries] {
            conn.delete_older(table, Duration::ZERO, 10).unwrap();
        }
        assert_eq!(conn.published_rows().unwrap().len(), 4);
    });
    in_schema("b", || {
        assert_eq!(conn.counts().unwrap(), Default::default());
        assert!(conn.paused_streams().unwrap().is_empty());
        assert!(!conn.knows_stream("s").unwrap());
    });
}

#[test]
fn save_means_the_named_schema_while_the_search_path_changes() {
    let Some(place) = Place::with_outboxes(&["a", "public"]) else {
        return;
    };
    let conn = &mut place.connect("public");
    conn.batch_execute(
        "create table orders (id int primary key, total bigint not null);
         create schema other; create table other.orders (like orders including all)",
    )
    .unwrap();
    in_schema("a", || {
        let order = Order { id: 1, total: 12 }.save(conn).unwrap();
        conn.batch_execute("set search_path = other").unwrap();
        // The user's own statements go by the search path, in one transaction with ours.
        let order = conn
            .transaction(|conn| Order { total: 13, ..order }.save(conn))
            .unwrap();
        publish(conn, &order).unwrap();
        // More rows than are written one by one.
        for rows in [1, 5] {
            let orders: Vec<Order> = (0..rows)
                .map(|id| Order {
                    id: 10 * rows + id,
                    total: 1,
                })
                .collect();
            use diesel_outbox::PublishDsl;
            diesel::insert_into(orders::table)
                .values(&orders)
                .returning(Order::as_returning())
                .publish_all(conn)
                .unwrap();
        }
        conn.batch_execute("create temp table published (id int); set search_path = public")
            .unwrap();
        let id = Message::new("/queue/a", 1).publish(conn).unwrap();
        assert!(cancel(conn, id).unwrap());
    });
    assert_eq!((place.rows("orders"), place.rows("other.orders")), (1, 7));
    assert_eq!(
        (place.rows("a.published"), place.rows("public.published")),
        (10, 0)
    );
    // The same statements on the same connection mean another schema.
    in_schema("public", || {
        publish(conn, &Order { id: 1, total: 1 }).unwrap()
    });
    assert_eq!(
        (place.rows("a.published"), place.rows("public.published")),
        (10, 1)
    );
}

/// What is new here may not forget it.
#[test]
fn each_file_with_statements_qualifies_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // The first is what qualifies; the others have statements on no table of ours on PostgreSQL.
        if !path.is_file() || ["qualify.rs", "schemas.rs", "watch.rs"].contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let runs = [
            ".execute(",
            ".load(",
            ".load::<",
            ".get_result(",
            ".get_result::<",
            ".first(",
        ];
        if runs.iter().any(|run| text.contains(run)) {
            let is_imported = text.lines().any(|line| {
                line.starts_with("use ")
                    && line.contains("qualify::")
                    && line.contains("RunQueryDsl")
            });
            assert!(is_imported, "{name} runs Diesel's statements as they are");
            files += 1;
        }
    }
    assert!(files >= 4);
}
