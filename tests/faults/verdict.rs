//! The conditions that must hold at the end.

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
    let rows = world.rows::<C>();
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

/// Committed rows are in the outbox; rolled back rows are not, and never arrived.
pub(crate) fn law_1_and_6(rows: &[Row], written: &[Written], first: &[String]) {
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

/// SUCCEEDED rows have arrived, and all rows are SUCCEEDED: nothing here fails permanently.
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

/// Only a full queue is a row's own failure, and two closed connections with the row alone in
/// flight while another one works, which is what a broker does that refuses it.
fn law_5(rows: &[Row], report: &Report) {
    let blamed = rows.iter().filter(|row| row.retry > 0).count();
    let is_bounded = report.full_queues > 0 || blamed <= report.broker_cuts / 2;
    assert!(is_bounded, "{blamed} rows were blamed for an outage");
}

/// The first arrivals of a key's rows, as messages or as effects, are in the order of `seq`.
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

/// The number of ids that come after a later row of their key.
pub(crate) fn late<'a>(rows: &[Row], ids: impl Iterator<Item = &'a String>) -> usize {
    let by_id: HashMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    let rows = ids.map(|id| by_id[id.as_str()]);
    rows.filter(|row| {
        let Some(key) = &row.key else { return false };
        let last = last.entry(key).or_insert(-1);
        let is_late = row.seq < *last;
        *last = row.seq.max(*last);
        is_late
    })
    .count()
}
