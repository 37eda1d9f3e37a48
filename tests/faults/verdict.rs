//! What has to hold at the end.

use std::collections::{HashMap, HashSet};

use crate::WINDOW;
use crate::adversary::Report;
use crate::consumer::Consumer;
use crate::world::{Row, Subject, World};
use crate::writer::Written;

pub(crate) fn judge<C: Subject>(
    world: &World,
    written: &[Written],
    consumer: &Consumer,
    report: &Report,
) {
    let rows = world.connect::<C>().rows();
    consumer.look(|arrivals| {
        law_1_and_6(&rows, written, &arrivals.first);
        law_3(&rows, &arrivals.first);
        law_5(&rows, report);
        law_7(&rows, &arrivals.first);
        let bound = report.faults() * 2 * WINDOW;
        let again = arrivals.sent_again;
        eprintln!(
            "{}: {} rows, {again} sent again, {bound} at most",
            C::NAME,
            rows.len()
        );
        assert!(again <= bound, "{again} sent again, {bound} at most");
    });
}

/// Committed is in the outbox, rolled back is nowhere.
fn law_1_and_6(rows: &[Row], written: &[Written], first: &[String]) {
    let there: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let arrived: HashSet<&str> = first.iter().map(String::as_str).collect();
    for written in written {
        for id in &written.committed {
            assert!(
                there.contains(id.as_str()),
                "{id} was committed and is gone"
            );
        }
        for id in &written.rolled_back {
            assert!(
                !there.contains(id.as_str()) && !arrived.contains(id.as_str()),
                "{id} was rolled back"
            );
        }
    }
}

/// SUCCEEDED has arrived, and all is SUCCEEDED: nothing here fails for good.
fn law_3(rows: &[Row], first: &[String]) {
    let arrived: HashSet<&str> = first.iter().map(String::as_str).collect();
    for row in rows {
        assert_eq!(row.status, 2, "{} has failed: {:?}", row.id, row.last_error);
        assert!(
            arrived.contains(row.id.as_str()),
            "{} never arrived",
            row.id
        );
    }
    assert_eq!(
        arrived.len(),
        rows.len(),
        "something arrived that is in no row"
    );
}

/// Only a full queue is a row's own failure; and so are two connections cut with the row alone in
/// flight while another one lives, which is what a broker does that refuses it.
fn law_5(rows: &[Row], report: &Report) {
    let blamed = rows.iter().filter(|row| row.retry > 0).count();
    let is_bounded = report.full_queues > 0 || blamed <= report.broker_cuts / 2;
    assert!(is_bounded, "{blamed} rows were blamed for an outage");
}

/// What came of a key's rows first, be it a message or an effect, is in the order of `seq`.
pub(crate) fn law_7(rows: &[Row], first: &[String]) {
    let by_id: HashMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    for id in first {
        let row = by_id[id.as_str()];
        let Some(key) = &row.key else { continue };
        let before = last.insert(key, row.seq).unwrap_or(-1);
        assert!(
            before < row.seq,
            "key {key}: {} came after {before}",
            row.seq
        );
    }
}
