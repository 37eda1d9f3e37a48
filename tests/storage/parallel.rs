//! Several relays on one outbox.

use std::collections::HashMap;
use std::sync::Mutex;

use diesel_outbox::backend::{Failure, FailureAction};

use super::*;

const RELAYS: usize = 4;
const ROWS: i64 = 1_200;
const KEYS: i64 = 7;

/// Relays that fail, die and are slow at the same time. Each row is "sent" by appending it to a log under
/// a lock, as a broker would.
pub(crate) fn no_row_twice_and_no_key_out_of_order<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for row in 0..ROWS {
        // A third has no key.
        let key = (row % 3 != 0).then(|| format!("k{}", row % KEYS));
        R::write(&mut conn, row, key.as_deref());
    }
    let log = Mutex::new(Vec::<(Option<String>, i64, Uuid)>::new());
    std::thread::scope(|scope| {
        for relay in 0..RELAYS {
            let log = &log;
            scope.spawn(move || {
                let mut conn = connect::<C>(url);
                let mut turn = relay;
                let mut empty = 0;
                while empty < 200 {
                    let token = Uuid::new_v4();
                    turn += 1;
                    // One dies with its rows unsent; its lease ends at once.
                    if turn % 11 == 0 {
                        conn.claim(R::TABLE, token, Duration::ZERO, 5).unwrap();
                        continue;
                    }
                    let rows = conn.claim(R::TABLE, token, MINUTE, 1 + turn % 20).unwrap();
                    if rows.is_empty() {
                        empty += 1;
                        std::thread::yield_now();
                        continue;
                    }
                    empty = 0;
                    let (mut sent, mut failed, mut back) = (Vec::new(), Vec::new(), Vec::new());
                    let mut held = Vec::new();
                    for row in rows {
                        if row.key.is_some() && held.contains(&row.key) {
                            back.push(row.row());
                        } else if (row.seq as usize + turn).is_multiple_of(13) && row.retry < 2 {
                            held.push(row.key.clone());
                            failed.push(Failure {
                                row: row.row(),
                                action: FailureAction::Retry(Duration::from_millis(1)),
                                reason: "on purpose".to_owned(),
                            });
                        } else {
                            let mut log = log.lock().unwrap();
                            log.push((row.key.clone(), row.seq, row.id));
                            sent.push(row.row());
                        }
                    }
                    assert_eq!(
                        conn.settle_sent(R::TABLE, token, &sent).unwrap(),
                        sent.len()
                    );
                    assert_eq!(
                        conn.settle_failed(R::TABLE, token, &failed).unwrap(),
                        failed.len()
                    );
                    assert_eq!(conn.release(R::TABLE, token, &back).unwrap(), back.len());
                }
            });
        }
    });
    let log = log.into_inner().unwrap();
    assert_eq!(log.len(), ROWS as usize, "each row once");
    let mut last = HashMap::new();
    for (key, seq, id) in log {
        if let Some(key) = key {
            let before = last.insert(key.clone(), seq).unwrap_or(0);
            assert!(before < seq, "{id} of {key}: {seq} after {before}");
        }
    }
    assert_eq!(conn.count(R::TABLE).unwrap().succeeded, ROWS);
}

pub(crate) fn a_claim_does_not_pass_an_unfinished_one<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for row in 0..10 {
        R::write(&mut conn, row, Some("k"));
    }
    let token = Uuid::new_v4();
    assert_eq!(conn.claim(R::TABLE, token, MINUTE, 4).unwrap().len(), 4);
    let mut other = connect::<C>(url);
    let rows = other.claim(R::TABLE, Uuid::new_v4(), MINUTE, 10).unwrap();
    assert!(rows.is_empty(), "their key is leased: {rows:?}");
}

pub(crate) fn a_claim_says_how_long_each_row_has_waited<C: Subject, R: Kind>(url: &str) {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    for body in 0..3 {
        R::write(conn, body, None);
    }
    let time = |conn: &mut C, hours: u32| {
        let time = conn.ago(HOUR * hours).unwrap();
        format!("'{}'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f"))
    };
    let (one, nine) = (time(conn, 1), time(conn, 9));
    let table = R::TABLE.name;
    // Written long ago; due later; leased by a process that has died.
    conn.batch_execute(&format!(
        "update {table} set added = {nine};
         update {table} set due_at = {one} where seq = 2;
         update {table} set due_at = {one}, lease_token = id where seq = 3"
    ))
    .unwrap();
    let rows = conn.claim(R::TABLE, Uuid::new_v4(), HOUR, 9).unwrap();
    let waits = rows
        .iter()
        .map(|row| (row.wait.time.as_secs() / 3600, row.wait.was_leased));
    assert_eq!(
        waits.collect::<Vec<_>>(),
        [(9, false), (1, false), (9, true)]
    );
    // A released row is none that a process has died with.
    let token = Uuid::new_v4();
    R::write(conn, 4, None);
    let rows = conn.claim(R::TABLE, token, HOUR, 9).unwrap();
    assert!(
        rows[0].wait.time < HOUR && !rows[0].wait.was_leased,
        "{rows:?}"
    );
    assert_eq!(conn.release(R::TABLE, token, &[rows[0].row()]).unwrap(), 1);
    let rows = conn.claim(R::TABLE, token, HOUR, 9).unwrap();
    assert!(!rows[0].wait.was_leased, "{rows:?}");
}
