//! The cost of writing a call.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::calls::write_all;
use serde_json::json;
use uuid::Uuid;

use crate::functions::nothing;
use crate::outbox::{Outbox, outbox_calls};
use crate::report::{Goal, Report};
use crate::{Size, median, rate};

const CALLS: i64 = 2_000;
const BATCH: i64 = 1_000;

pub(crate) fn measure(size: Size, report: &mut Report) {
    let mut outbox = Outbox::new();
    let conn = &mut outbox.conn;
    let mut times = [(); 4].map(|()| Vec::new());
    for _ in 0..size.rounds {
        // Without waiting for the disk, which would dominate and vary.
        conn.batch_execute("truncate outbox_calls; set synchronous_commit = off")
            .unwrap();
        times[0].push(timed(|| (0..CALLS).for_each(|order| by_hand(conn, order))));
        times[1].push(timed(|| (0..CALLS).for_each(|order| write(conn, order))));
        times[2].push(timed(|| (0..BATCH).for_each(|order| write(conn, order))));
        times[3].push(timed(|| batch(conn)));
    }
    let [by_hand, written, one_by_one, at_once] = times.map(median);
    let mut add = |what: &str, count, time: Duration, other: Duration, goal| {
        let ratio = time.as_secs_f64() / other.as_secs_f64();
        report.add(what, format!("{:.0}/s", rate(count, time)), ratio, goal);
    };
    let what = "one INSERT by hand in a transaction, time";
    add(what, CALLS, by_hand, by_hand, Goal::None);
    let what = "writing a call in a transaction, time";
    add(what, CALLS, written, by_hand, Goal::AtMost(1.05));
    let times_faster = one_by_one.as_secs_f64() / at_once.as_secs_f64();
    let measured = format!("{:.0}/s", rate(BATCH, at_once));
    report.add(
        "write_all of 1,000, times faster",
        measured,
        times_faster,
        Goal::None,
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn call(order: i64) -> nothing {
    nothing {
        order,
        email: "ann@example.org".to_owned(),
    }
}

fn write(conn: &mut PgConnection, order: i64) {
    conn.transaction::<_, diesel_outbox::Error, _>(|conn| {
        nothing::later(conn, order, "ann@example.org")
    })
    .unwrap();
}

fn batch(conn: &mut PgConnection) {
    write_all(conn, (0..BATCH).map(call)).unwrap();
}

/// The same row, written without this library.
fn by_hand(conn: &mut PgConnection, order: i64) {
    conn.transaction::<_, diesel::result::Error, _>(|conn| {
        let headers = json!({"dop-correlation-id": Uuid::new_v4().to_string()});
        diesel::insert_into(outbox_calls::table)
            .values((
                outbox_calls::id.eq(Uuid::now_v7()),
                outbox_calls::name.eq("bench.nothing"),
                outbox_calls::args.eq(json!({"order": order, "email": "ann@example.org"})),
                outbox_calls::headers.eq(headers),
            ))
            .execute(conn)
    })
    .unwrap();
}
