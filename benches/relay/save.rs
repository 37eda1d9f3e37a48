//! The cost of saving with the derive.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::config::Config;
use diesel_outbox::relay::{OnCommit, Relay};
use diesel_outbox::{Publish, PublishDsl, Save};
use serde_json::json;
use uuid::Uuid;

use crate::broker::Broker;
use crate::outbox::Outbox;
use crate::report::{Goal, Report};
use crate::{Size, median, rate};

diesel::table! {
    orders (id) { id -> Integer, customer -> Text, total -> BigInt, }
}

diesel::table! {
    published (id) { id -> Uuid, destination -> Text, body -> Jsonb, headers -> Jsonb, }
}

#[derive(Queryable, Selectable, Identifiable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders")]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
struct NewOrder {
    customer: String,
    total: i64,
}

fn order() -> NewOrder {
    NewOrder {
        customer: "ann".to_owned(),
        total: 12,
    }
}

const SAVES: i64 = 2_000;
const BATCH: i64 = 1_000;

pub(crate) fn measure(size: Size, report: &mut Report) {
    let mut outbox = Outbox::new();
    let conn = &mut outbox.conn;
    conn.batch_execute(
        "create table orders (id serial primary key, customer text not null, total bigint not null)",
    )
    .unwrap();
    let mut watched = with_on_commit(&outbox.database.url);
    let mut times = [(); 6].map(|()| Vec::new());
    for _ in 0..size.rounds {
        // Without waiting for the disk, which would dominate and vary.
        conn.batch_execute("truncate published, orders; set synchronous_commit = off")
            .unwrap();
        times[0].push(timed(|| (0..SAVES).for_each(|_| by_hand(conn))));
        times[1].push(timed(|| (0..SAVES).for_each(|_| save(conn))));
        let trigger = "alter table published enable trigger outbox_wake";
        conn.batch_execute(trigger).unwrap();
        times[2].push(timed(|| (0..SAVES).for_each(|_| save(conn))));
        conn.batch_execute(&trigger.replace("enable", "disable"))
            .unwrap();
        times[5].push(timed(|| (0..SAVES).for_each(|_| save(&mut watched))));
        times[3].push(timed(|| (0..BATCH).for_each(|_| save(conn))));
        times[4].push(timed(|| batch(conn)));
    }
    let [by_hand, saved, notified, one_by_one, at_once, woken] = times.map(median);
    let mut add = |what: &str, count, time: Duration, other: Duration, goal| {
        let ratio = time.as_secs_f64() / other.as_secs_f64();
        report.add(what, format!("{:.0}/s", rate(count, time)), ratio, goal);
    };
    add(
        "two INSERTs by hand in one transaction, time",
        SAVES,
        by_hand,
        by_hand,
        Goal::None,
    );
    add("save, time", SAVES, saved, by_hand, Goal::AtMost(1.05));
    add(
        "save with NOTIFY, time",
        SAVES,
        notified,
        by_hand,
        Goal::None,
    );
    add(
        "save with OnCommit, time",
        SAVES,
        woken,
        by_hand,
        Goal::None,
    );
    add("1,000 saves, time", BATCH, one_by_one, at_once, Goal::None);
    let times_faster = one_by_one.as_secs_f64() / at_once.as_secs_f64();
    let measured = format!("{:.0}/s", rate(BATCH, at_once));
    report.add(
        "publish_all of 1,000, times faster",
        measured,
        times_faster,
        Goal::AtLeast(10.0),
    );
}

/// A connection whose commits wake a relay.
fn with_on_commit(url: &str) -> PgConnection {
    let config = Config::builder()
        .set("database_url", url)
        .set("stomp_url", Broker::usual().url)
        .build()
        .unwrap();
    let relay = Relay::<PgConnection>::new(&config).unwrap();
    let mut conn = PgConnection::establish(url).unwrap();
    conn.batch_execute("set synchronous_commit = off").unwrap();
    OnCommit::install(&mut conn, relay.waker()).unwrap();
    conn
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn save(conn: &mut PgConnection) {
    order().save(conn).unwrap();
}

fn batch(conn: &mut PgConnection) {
    let orders: Vec<NewOrder> = (0..BATCH).map(|_| order()).collect();
    let saved = diesel::insert_into(orders::table)
        .values(&orders)
        .returning(Order::as_returning())
        .publish_all(conn)
        .unwrap();
    assert_eq!(saved.len(), orders.len());
}

/// The same rows, written without this library.
fn by_hand(conn: &mut PgConnection) {
    conn.transaction::<_, diesel::result::Error, _>(|conn| {
        let order: Order = diesel::insert_into(orders::table)
            .values(order())
            .returning(Order::as_returning())
            .get_result(conn)?;
        let id = Uuid::now_v7();
        let headers = json!({
            "dop-msg-id": id.to_string(),
            "dop-msg-destination": "/topic/orders",
            "dop-msg-type": "Published",
            "dop-msg-sent-time": chrono::Utc::now().to_rfc3339(),
            "dop-correlation-id": Uuid::new_v4().to_string(),
        });
        diesel::insert_into(published::table)
            .values((
                published::id.eq(id),
                published::destination.eq("/topic/orders"),
                published::body.eq(json!({
                    "id": order.id, "customer": order.customer, "total": order.total,
                })),
                published::headers.eq(headers),
            ))
            .execute(conn)
    })
    .unwrap();
}
