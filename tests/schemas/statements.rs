//! Every statement of ours means the schema that was named.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::admin::{self, Filter, Rows};
use diesel_outbox::backend::{
    CALLS, Dialect, Failure, FailureAction, Inbox, Lifecycle, Maintenance, PUBLISHED, Table,
};
use diesel_outbox::calls::{self, Call, write_all};
use diesel_outbox::{Message, Publish, Save, cancel, in_schema, outboxed, publish};
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

#[outboxed]
fn bill(order: i64) {
    let _ = order;
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
            open_circuits: vec!["/queue/other".to_owned()],
            ordered_streams: vec!["s".to_owned()],
            own_keys: vec!["k".to_owned()],
            own_tokens: vec![token],
            from: Some(0),
            ..Default::default()
        };
        let rows = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
        let rows: Vec<_> = rows.iter().map(|row| row.row()).collect();
        assert_eq!(conn.settle_sent(PUBLISHED, token, &rows[..2]).unwrap(), 2);
        assert_eq!(conn.under(PUBLISHED, token, &rows).unwrap(), rows[2..]);
        assert_eq!(conn.not_locked(PUBLISHED, &rows).unwrap(), rows);
        let failure = |row| Failure {
            row,
            action: FailureAction::Park,
            reason: "refused".to_owned(),
        };
        let failures = [failure(rows[2]), failure(rows[3])];
        assert_eq!(conn.settle_failed(PUBLISHED, token, &failures).unwrap(), 2);
        assert_eq!(conn.release(PUBLISHED, token, &rows[4..5]).unwrap(), 1);
        assert_eq!(conn.release_all(PUBLISHED, token).unwrap(), 1);
        assert_eq!(conn.retry(PUBLISHED, &ids[2..3]).unwrap(), 1);
        assert_eq!(conn.retry::<Uuid>(PUBLISHED, &[]).unwrap(), 1);
        assert_eq!(conn.cancel(PUBLISHED, &ids[4..]).unwrap(), 2);
        assert_eq!(conn.skip(PUBLISHED, &ids[4..]).unwrap(), 2);
        assert!(conn.last_waiting(PUBLISHED).unwrap().is_some());

        conn.pause_stream("slow", true).unwrap();
        assert!(conn.knows_stream("slow").unwrap() && conn.knows_stream("s").unwrap());
        assert_eq!(conn.streams().unwrap(), ["s", "slow"]);
        assert_eq!(conn.paused_streams().unwrap(), ["slow"]);
        assert!(conn.begin_job("clean", MINUTE).unwrap());
        assert_eq!(conn.waiting(PUBLISHED).unwrap().0, 2);

        assert!(!conn.is_received("m", "c").unwrap());
        conn.count_attempt("m", "c").unwrap();
        conn.uncount_attempt("m", "c").unwrap();
        conn.redelivery_state("m", "c").unwrap();
        conn.delete_attempt_count("m", "c").unwrap();
        let open = conn.begin_inbox().unwrap();
        conn.roll_back_inbox(open);

        let counts = admin::status(conn).unwrap();
        assert_eq!((counts.waiting, counts.parked), (2, 2));
        assert_eq!(admin::totals(conn).unwrap().sent, 2);
        for table in [Table::Published, Table::Received, Table::Deliveries] {
            conn.delete_older(table, Duration::ZERO, 10).unwrap();
        }
        assert_eq!(conn.published_rows().unwrap().len(), 4);
    });
    in_schema("b", || {
        assert_eq!(admin::status(conn).unwrap(), Default::default());
        assert_eq!(admin::totals(conn).unwrap(), Default::default());
        assert!(conn.paused_streams().unwrap().is_empty());
        assert!(!conn.knows_stream("s").unwrap());
    });
}

/// The same for function calls.
#[test]
fn calls_are_not_left_to_the_search_path() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    let conn = &mut place.connect("nowhere");
    in_schema("a", || {
        let ids: Vec<Uuid> = (0..3).map(|_| bill::later(conn, 1).unwrap()).collect();
        let batch = (2..6).map(|order| bill { order }.stream("s"));
        assert_eq!(write_all(conn, batch).unwrap().len(), 4);
        assert!(!bill { order: 1 }.id(ids[0]).write_if_new(conn).unwrap());
        assert_eq!(conn.streams().unwrap(), ["s"]);
        let token = Uuid::new_v4();
        let rows = conn.claim(CALLS, token, MINUTE, 2).unwrap();
        let rows: Vec<_> = rows.iter().map(|row| row.row()).collect();
        assert_eq!(conn.settle_sent(CALLS, token, &rows).unwrap(), 2);
        assert!(calls::cancel(conn, ids[2]).unwrap());
        let counts = Rows::Calls.count(conn).unwrap();
        assert_eq!((counts.waiting, counts.parked, counts.done), (4, 1, 2));
        let status = Rows::Calls.status(conn).unwrap();
        assert_eq!((status.waiting, status.cancelled), (4, 1));
        assert_eq!(status.targets[0].rows, 4);
        assert_eq!(Rows::Calls.clean(conn, Duration::ZERO).unwrap(), 2);
        let page = Rows::Calls.list(conn, &Filter::new().stream("s"), None, 9);
        assert_eq!(page.unwrap().rows.len(), 4);
    });
    in_schema("b", || {
        assert_eq!(Rows::Calls.count(conn).unwrap(), Default::default());
        assert_eq!(Rows::Calls.status(conn).unwrap(), Default::default());
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

/// Files that need not: what qualifies; what looks at the system's tables or runs with a search path of its
/// own; and a macro, which counts in the file that uses it.
const EXEMPT: [&str; 9] = [
    "qualify.rs",
    "schemas.rs",
    "watch.rs",
    "migrate.rs",
    "migration_lock.rs",
    "adoption.rs",
    "search_path.rs",
    "time_limits.rs",
    "dialect.rs",
];

/// The files below a folder.
fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => vec![path],
        })
        .collect()
}

/// A new file must not forget it.
#[test]
fn each_file_with_statements_qualifies_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend");
    let mut files = 0;
    for path in files_below(folder.as_ref()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if EXEMPT.contains(&name.as_str()) {
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
            assert!(is_imported, "{path:?} runs Diesel's statements as they are");
            files += 1;
        }
    }
    assert!(files >= 10, "{files}");
}
