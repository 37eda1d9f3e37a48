//! Claims, leases, and what ends leases.

use diesel_outbox::backend::{Claimed, Failure, FailureAction, Freshness, Room, RowKey, Scope};

use serde_json::json;

use super::*;

pub(crate) fn bodies(rows: &[Claimed]) -> Vec<&str> {
    rows.iter().map(|row| row.body.as_str()).collect()
}

pub(crate) fn ids(rows: &[Claimed]) -> Vec<Uuid> {
    rows.iter().map(|row| row.id).collect()
}

pub(crate) fn keys(rows: &[Claimed]) -> Vec<RowKey> {
    rows.iter().map(Claimed::row).collect()
}

pub(crate) fn failure(row: RowKey, action: FailureAction) -> Failure {
    Failure {
        row,
        action,
        reason: "on purpose".to_owned(),
    }
}

pub(crate) fn statements_on_no_rows_change_nothing<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    R::write(&mut conn, 1, None);
    let token = Uuid::new_v4();
    assert_eq!(conn.claim(R::TABLE, token, MINUTE, 1).unwrap().len(), 1);
    assert_eq!(conn.not_locked(R::TABLE, &[]).unwrap(), []);
    assert_eq!(conn.under(R::TABLE, token, &[]).unwrap(), []);
    assert_eq!(conn.renew(R::TABLE, token, &[], MINUTE).unwrap(), 0);
    conn.release(R::TABLE, token, &[]).unwrap();
    let count = conn.count(R::TABLE).unwrap();
    assert_eq!((count.waiting, count.not_due), (1, 1));
}

pub(crate) fn rows_come_in_their_order_and_once<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for body in 0..5 {
        R::write(&mut conn, body, None);
    }
    let token = Uuid::new_v4();
    let first = conn.claim(R::TABLE, token, MINUTE, 3).unwrap();
    assert_eq!(bodies(&first), ["0", "1", "2"]);
    let second = conn.claim(R::TABLE, Uuid::new_v4(), MINUTE, 3).unwrap();
    assert_eq!(bodies(&second), ["3", "4"]);
    assert!(conn.claim(R::TABLE, token, MINUTE, 3).unwrap().is_empty());
    assert_eq!(conn.settle_sent(R::TABLE, token, &keys(&first)).unwrap(), 3);
    assert_eq!(conn.settle_sent(R::TABLE, token, &keys(&first)).unwrap(), 0);
    let counts = conn.count(R::TABLE).unwrap();
    assert_eq!(
        (counts.waiting, counts.not_due, counts.succeeded),
        (2, 2, 3)
    );
}

pub(crate) fn a_lease_ends_by_itself<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    R::write(&mut conn, 0, Some("k"));
    R::write(&mut conn, 1, Some("k"));
    let dead = conn
        .claim(R::TABLE, Uuid::new_v4(), Duration::ZERO, 1)
        .unwrap();
    assert_eq!(bodies(&dead), ["0"]);
    let again = conn.claim(R::TABLE, Uuid::new_v4(), MINUTE, 10).unwrap();
    assert_eq!(bodies(&again), ["0", "1"]);
}

pub(crate) fn a_stale_token_changes_nothing<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = R::write(&mut conn, 0, None);
    let (old, new) = (Uuid::new_v4(), Uuid::new_v4());
    conn.claim(R::TABLE, old, Duration::ZERO, 1).unwrap();
    conn.claim(R::TABLE, new, MINUTE, 1).unwrap();
    assert_eq!(conn.settle_sent(R::TABLE, old, &[nth(1, id)]).unwrap(), 0);
    let failures = [failure(nth(1, id), FailureAction::Park)];
    assert_eq!(conn.settle_failed(R::TABLE, old, &failures).unwrap(), 0);
    assert_eq!(conn.release(R::TABLE, old, &[nth(1, id)]).unwrap(), 0);
    assert_eq!(conn.settle_sent(R::TABLE, new, &[nth(1, id)]).unwrap(), 1);
    assert_eq!(conn.settle_failed(R::TABLE, new, &failures).unwrap(), 0);
    let counts = conn.count(R::TABLE).unwrap();
    assert_eq!((counts.succeeded, counts.parked), (1, 0));
}

pub(crate) fn a_claim_whose_answer_was_lost_is_given_back<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = R::write(&mut conn, 0, None);
    R::write(&mut conn, 1, Some("k"));
    R::write(&mut conn, 2, None);
    let (lost, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(conn.claim(R::TABLE, lost, MINUTE, 2).unwrap().len(), 2);
    assert_eq!(
        bodies(&conn.claim(R::TABLE, other, MINUTE, 9).unwrap()),
        ["2"]
    );
    assert_eq!(
        conn.settle_sent(R::TABLE, lost, &[nth(1, first)]).unwrap(),
        1
    );
    assert_eq!(conn.release_all(R::TABLE, lost).unwrap(), 1);
    assert_eq!(conn.release_all(R::TABLE, lost).unwrap(), 0);
    assert_eq!(
        bodies(&conn.claim(R::TABLE, lost, MINUTE, 9).unwrap()),
        ["1"]
    );
}

pub(crate) fn a_failing_row_holds_up_its_key_and_nothing_else<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = R::write(&mut conn, 0, Some("k"));
    R::write(&mut conn, 1, Some("k"));
    R::write(&mut conn, 2, Some("other"));
    R::write(&mut conn, 3, None);
    let token = Uuid::new_v4();
    assert_eq!(
        bodies(&conn.claim(R::TABLE, token, MINUTE, 1).unwrap()),
        ["0"]
    );
    let failures = [failure(nth(1, first), FailureAction::Retry(MINUTE))];
    assert_eq!(conn.settle_failed(R::TABLE, token, &failures).unwrap(), 1);
    let rest = conn.claim(R::TABLE, Uuid::new_v4(), MINUTE, 10).unwrap();
    assert_eq!(bodies(&rest), ["2", "3"]);
    conn.batch_execute(&R::on(
        "update published set due_at = added where retry = 1",
    ))
    .unwrap();
    let rows = conn.claim(R::TABLE, token, MINUTE, 10).unwrap();
    assert_eq!(bodies(&rows), ["0", "1"]);
    assert_eq!(rows[0].retry, 1);
}

pub(crate) fn a_skipped_row_lets_its_key_go_on<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = R::write(&mut conn, 0, Some("k"));
    R::write(&mut conn, 1, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(R::TABLE, token, MINUTE, 1).unwrap();
    conn.settle_failed(
        R::TABLE,
        token,
        &[failure(nth(1, first), FailureAction::Park)],
    )
    .unwrap();
    assert!(conn.claim(R::TABLE, token, MINUTE, 10).unwrap().is_empty());
    assert_eq!(conn.skip(R::TABLE, &[first]).unwrap(), 1);
    assert_eq!(
        bodies(&conn.claim(R::TABLE, token, MINUTE, 10).unwrap()),
        ["1"]
    );
    assert_eq!(conn.count(R::TABLE).unwrap().parked, 1, "it stays, visible");
}

pub(crate) fn a_retried_row_starts_anew<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = R::write(&mut conn, 0, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(R::TABLE, token, MINUTE, 1).unwrap();
    conn.settle_failed(R::TABLE, token, &[failure(nth(1, id), FailureAction::Park)])
        .unwrap();
    assert_eq!(conn.retry(R::TABLE, &[Uuid::new_v4()]).unwrap(), 0);
    assert_eq!(conn.retry::<Uuid>(R::TABLE, &[]).unwrap(), 1);
    let rows = conn.claim(R::TABLE, token, MINUTE, 1).unwrap();
    assert_eq!((rows[0].id, rows[0].retry), (id, 0));
}

pub(crate) fn an_expired_row_says_so_and_is_out_of_the_way<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = R::write(&mut conn, 0, Some("k"));
    R::write(&mut conn, 1, Some("k"));
    conn.batch_execute(&R::on(
        "update published set expires_at = added where seq = 1",
    ))
    .unwrap();
    let token = Uuid::new_v4();
    let rows = conn.claim(R::TABLE, token, MINUTE, 1).unwrap();
    assert!(rows[0].expired);
    conn.settle_failed(
        R::TABLE,
        token,
        &[failure(nth(1, id), FailureAction::Expire)],
    )
    .unwrap();
    let rows = conn.claim(R::TABLE, token, MINUTE, 10).unwrap();
    assert_eq!(bodies(&rows), ["1"]);
    assert!(!rows[0].expired);
    assert_eq!(conn.count(R::TABLE).unwrap().parked, 1);
    // Retried by hand, it does not expire at once.
    assert_eq!(conn.retry(R::TABLE, &[id]).unwrap(), 1);
    assert!(!conn.claim(R::TABLE, token, MINUTE, 10).unwrap()[0].expired);
}

pub(crate) fn a_delayed_row_waits_and_may_be_cancelled<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = R::write_after(&mut conn, json!(0), Some("k"), Some(MINUTE));
    let second = R::write(&mut conn, 1, Some("k"));
    R::write(&mut conn, 2, None);
    let token = Uuid::new_v4();
    let rows = conn.claim(R::TABLE, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2"], "the second follows the first");
    assert_eq!(
        conn.cancel(R::TABLE, &ids(&rows)).unwrap(),
        0,
        "it is on its way"
    );
    assert_eq!(conn.cancel(R::TABLE, &[first]).unwrap(), 1);
    assert_eq!(conn.cancel(R::TABLE, &[first]).unwrap(), 0, "it is parked");
    assert_eq!(
        bodies(&conn.claim(R::TABLE, token, MINUTE, 9).unwrap()),
        ["1"]
    );
    assert_eq!(
        conn.settle_sent(R::TABLE, token, &[nth(2, second)])
            .unwrap(),
        1
    );
    assert_eq!(conn.cancel(R::TABLE, &[second]).unwrap(), 0, "it was sent");
    let counts = conn.count(R::TABLE).unwrap();
    assert_eq!((counts.parked, counts.succeeded), (1, 1));
    // And sent in the end.
    assert_eq!(conn.retry(R::TABLE, &[first]).unwrap(), 1);
    assert_eq!(
        bodies(&conn.claim(R::TABLE, token, MINUTE, 9).unwrap()),
        ["0"]
    );
}

pub(crate) fn a_row_passed_by_is_parked_and_its_key_goes_on<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = R::write(&mut conn, 0, Some("k"));
    R::write(&mut conn, 1, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(R::TABLE, token, MINUTE, 1).unwrap();
    conn.settle_failed(
        R::TABLE,
        token,
        &[failure(nth(1, id), FailureAction::ParkAndSkip)],
    )
    .unwrap();
    assert_eq!(
        bodies(&conn.claim(R::TABLE, token, MINUTE, 9).unwrap()),
        ["1"]
    );
    assert_eq!(conn.count(R::TABLE).unwrap().parked, 1);
}

pub(crate) fn rows_under_our_own_leases_hold_up_no_own_key<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let mut ids = Vec::new();
    for (body, key) in [
        (0, "a"),
        (1, "it's \"b\""),
        (2, "c"),
        (3, "a"),
        (4, "it's \"b\""),
        (5, "c"),
        (6, "a"),
        (7, ""),
    ] {
        ids.push(R::write(&mut conn, body, Some(key)));
    }
    let [first, second, other] = [(); 3].map(|()| Uuid::new_v4());
    let own = |keys: &[&str], tokens: &[Uuid]| Scope {
        own_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        own_tokens: tokens.to_vec(),
        ..Scope::default()
    };
    let keys = ["a", "it's \"b\"", ""];
    let none = own(&["nobody's"], &[]);
    let rows = conn.claim_in(R::TABLE, &none, first, MINUTE, 3).unwrap();
    assert_eq!(bodies(&rows), ["0", "1", "2"]);
    // Another relay waits, and rows that are not named wait too.
    let rows = conn.claim_in(R::TABLE, &own(&keys, &[other]), other, MINUTE, 9);
    assert_eq!(bodies(&rows.unwrap()), ["7"]);
    let ours = own(&keys, &[first, second]);
    let rows = conn.claim_in(R::TABLE, &ours, second, MINUTE, 2).unwrap();
    assert_eq!(bodies(&rows), ["3", "4"]);
    // A failure blocks its key for every relay.
    let failures = [failure(nth(4, ids[3]), FailureAction::Retry(MINUTE))];
    conn.settle_failed(R::TABLE, second, &failures).unwrap();
    let third = Uuid::new_v4();
    let rows = conn.claim_in(R::TABLE, &ours, third, MINUTE, 9).unwrap();
    assert!(rows.is_empty());
    conn.settle_sent(R::TABLE, first, &[nth(3, ids[2])])
        .unwrap();
    let rows = conn.claim_in(R::TABLE, &ours, third, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["5"]);
}

/// MariaDB truncates a concatenation to the configured length.
pub(crate) fn a_claim_is_whole_whatever_the_session_says<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for n in 0..50 {
        R::write(&mut conn, n, None);
    }
    if C::NAME.starts_with("MySQL") {
        conn.batch_execute("set session group_concat_max_len = 64")
            .unwrap();
    }
    let rows = conn.claim(R::TABLE, Uuid::new_v4(), MINUTE, 50).unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<i64>>());
}

pub(crate) fn a_claim_brings_no_more_bytes_than_there_is_room_for<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    // One repeated character, so that the database compresses it.
    let text = "x".repeat(100_000);
    for n in 0..6 {
        let key = (n < 5).then_some("k");
        R::write_after(&mut conn, json!(format!("{n}{text}")), key, None);
    }
    let everything = Scope::default();
    let take = |conn: &mut C, bytes: usize, any_first: bool| {
        let room = Room {
            rows: 10,
            bytes,
            largest: 1_000_000,
            any_first,
        };
        let claim = conn
            .take(R::TABLE, &everything, Uuid::new_v4(), MINUTE, room)
            .unwrap();
        let seqs: Vec<i64> = claim.rows.iter().map(|row| row.seq).collect();
        (seqs, claim.too_many, claim.mean_size.unwrap_or_default())
    };
    let (rows, too_many, mean) = take(&mut conn, 250_000, true);
    assert_eq!((rows, too_many), (vec![1, 2], 4));
    assert!((90_000..110_000).contains(&mean), "{mean}");
    // Released rows are due at once; 3 follows 1 and 2.
    let (rows, too_many, _) = take(&mut conn, 250_000, true);
    assert_eq!((rows, too_many), (vec![6], 0));
    conn.run(&R::on(
        "update published set status = 2 where seq in (1, 2, 6)",
    ))
    .unwrap();
    assert_eq!(take(&mut conn, 1_000, false).0, [0; 0], "it does not fit");
    assert_eq!(take(&mut conn, 1_000, true).0, [3], "alone it may");
}

pub(crate) fn a_body_too_large_to_be_sent_is_not_read<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for length in [10, 400_000, 10, 400_000] {
        R::write_after(&mut conn, json!("x".repeat(length)), None, None);
    }
    let room = Room {
        rows: 10,
        bytes: 100_000,
        largest: 300_000,
        any_first: false,
    };
    let everything = Scope::default();
    let claim = conn
        .take(R::TABLE, &everything, Uuid::new_v4(), MINUTE, room)
        .unwrap();
    let rows = claim.rows.iter();
    let rows: Vec<_> = rows
        .map(|row| (row.seq, row.body.len(), row.too_large))
        .collect();
    let too_large = Some(400_002);
    assert_eq!(
        rows,
        [
            (1, 12, None),
            (2, 0, too_large),
            (3, 12, None),
            (4, 0, too_large)
        ],
        "they take no room"
    );
    assert_eq!(claim.too_many, 0);
}

pub(crate) fn rows_that_have_not_failed_are_taken_by_themselves<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for (body, key) in [
        (0, None),
        (1, Some("failed")),
        (2, Some("failed")),
        (3, Some("a")),
        (4, Some("a")),
        (5, None),
        (6, Some("b")),
    ] {
        R::write(&mut conn, body, key);
    }
    conn.run(&R::on(
        "update published set retry = 1, due_at = added where seq in (1, 2)",
    ))
    .unwrap();
    let mut claimed = |freshness: Freshness, limit: usize| -> Vec<String> {
        let token = Uuid::new_v4();
        let scope = Scope {
            freshness,
            ..Scope::default()
        };
        let rows = conn
            .claim_in(R::TABLE, &scope, token, MINUTE, limit)
            .unwrap();
        conn.release(R::TABLE, token, &keys(&rows)).unwrap();
        bodies(&rows).into_iter().map(str::to_owned).collect()
    };
    // 2 follows one that failed, 4 follows 3.
    assert_eq!(claimed(Freshness::Fresh, 9), ["3", "5", "6"]);
    assert_eq!(claimed(Freshness::Newest, 9), ["3", "5", "6"]);
    assert_eq!(claimed(Freshness::Fresh, 1), ["3"]);
    assert_eq!(claimed(Freshness::Newest, 1), ["6"]);
}

pub(crate) fn an_id_in_any_spelling_is_settled_and_found<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let canonical = Uuid::from_u128(0xa1a2_a3a4_b1b2_c1c2_d1d2_d3d4_d5d6_d7d8);
    let spelled = |n: u128| Uuid::from_u128(canonical.as_u128() + n);
    let mut stored = vec![
        spelled(0).hyphenated().to_string(),
        spelled(1).hyphenated().to_string().to_uppercase(),
        spelled(2).simple().to_string(),
        spelled(3).simple().to_string().to_uppercase(),
    ];
    if C::NAME != "PostgreSQL" {
        stored.push("order-7".to_owned());
        stored.push("A1a2a3a4-B1b2-C1c2-D1d2-D3d4d5d6d7dE".to_owned());
    }
    if C::NAME == "SQLite" {
        stored.push(spelled(8).braced().to_string());
        stored.push(spelled(9).urn().to_string());
    }
    for id in &stored {
        conn.run(&R::on(&format!(
            "insert into published (id, destination, body) values ('{id}', '/queue/a', '1')"
        )))
        .unwrap();
    }
    let token = Uuid::new_v4();
    let rows = conn.claim(R::TABLE, token, MINUTE, 99).unwrap();
    assert_eq!(rows.len(), stored.len());
    let bad: Vec<_> = rows
        .iter()
        .filter_map(|row| row.bad_id.as_deref())
        .collect();
    if C::NAME == "PostgreSQL" {
        assert!(bad.is_empty());
    } else {
        assert_eq!(bad, ["order-7"]);
    }
    assert_eq!(
        conn.release(R::TABLE, token, &keys(&rows)).unwrap(),
        rows.len()
    );
    let rows = conn.claim(R::TABLE, token, MINUTE, 99).unwrap();
    let failures: Vec<_> = rows
        .iter()
        .map(|row| failure(row.row(), FailureAction::Park))
        .collect();
    assert_eq!(
        conn.settle_failed(R::TABLE, token, &failures).unwrap(),
        rows.len()
    );
    // An operator copies an id from a log line, in the usual spelling.
    let named: Vec<String> = rows
        .iter()
        .map(|row| row.bad_id.clone().unwrap_or_else(|| row.id.to_string()))
        .collect();
    assert_eq!(conn.skip(R::TABLE, &named).unwrap(), rows.len());
    assert_eq!(conn.retry(R::TABLE, &named).unwrap(), rows.len());
    assert_eq!(
        conn.retry(R::TABLE, &named).unwrap(),
        0,
        "they are not parked"
    );
    let named = ["{A1A2A3A4B1B2C1C2D1D2D3D4D5D6D7D8}", "nobody"];
    assert_eq!(conn.cancel(R::TABLE, &named).unwrap(), 1);
    assert_eq!(conn.retry(R::TABLE, &[spelled(0)]).unwrap(), 1);
    let rows = conn.claim(R::TABLE, token, MINUTE, 99).unwrap();
    assert_eq!(
        conn.settle_sent(R::TABLE, token, &keys(&rows)).unwrap(),
        rows.len()
    );
    assert_eq!(conn.count(R::TABLE).unwrap().succeeded, stored.len() as i64);
}
