//! Claims, leases, and what ends them.

use diesel_outbox::backend::{Claimed, Failure, Freshness, Room, RowKey, Scope, Verdict};

use super::*;

fn bodies(rows: &[Claimed]) -> Vec<&str> {
    rows.iter().map(|row| row.body.as_str()).collect()
}

fn ids(rows: &[Claimed]) -> Vec<Uuid> {
    rows.iter().map(|row| row.id).collect()
}

fn keys(rows: &[Claimed]) -> Vec<RowKey> {
    rows.iter().map(Claimed::row).collect()
}

fn failure(row: RowKey, verdict: Verdict) -> Failure {
    Failure {
        row,
        verdict,
        reason: "on purpose".to_owned(),
    }
}

pub(crate) fn rows_come_in_their_order_and_once<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for body in 0..5 {
        write(&mut conn, body, None);
    }
    let token = Uuid::new_v4();
    let first = conn.claim(token, MINUTE, 3).unwrap();
    assert_eq!(bodies(&first), ["0", "1", "2"]);
    let second = conn.claim(Uuid::new_v4(), MINUTE, 3).unwrap();
    assert_eq!(bodies(&second), ["3", "4"]);
    assert!(conn.claim(token, MINUTE, 3).unwrap().is_empty());
    assert_eq!(conn.settle_sent(token, &keys(&first)).unwrap(), 3);
    assert_eq!(conn.settle_sent(token, &keys(&first)).unwrap(), 0);
    let counts = conn.counts().unwrap();
    assert_eq!((counts.waiting, counts.not_due, counts.sent), (2, 2, 3));
}

pub(crate) fn a_lease_ends_by_itself<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    write(&mut conn, 0, Some("k"));
    write(&mut conn, 1, Some("k"));
    let dead = conn.claim(Uuid::new_v4(), Duration::ZERO, 1).unwrap();
    assert_eq!(bodies(&dead), ["0"]);
    let again = conn.claim(Uuid::new_v4(), MINUTE, 10).unwrap();
    assert_eq!(bodies(&again), ["0", "1"]);
}

pub(crate) fn a_stale_token_changes_nothing<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = write(&mut conn, 0, None);
    let (old, new) = (Uuid::new_v4(), Uuid::new_v4());
    conn.claim(old, Duration::ZERO, 1).unwrap();
    conn.claim(new, MINUTE, 1).unwrap();
    assert_eq!(conn.settle_sent(old, &[nth(1, id)]).unwrap(), 0);
    let failures = [failure(nth(1, id), Verdict::Park)];
    assert_eq!(conn.settle_failed(old, &failures).unwrap(), 0);
    assert_eq!(conn.release(old, &[nth(1, id)]).unwrap(), 0);
    assert_eq!(conn.settle_sent(new, &[nth(1, id)]).unwrap(), 1);
    assert_eq!(conn.settle_failed(new, &failures).unwrap(), 0);
    let counts = conn.counts().unwrap();
    assert_eq!((counts.sent, counts.failed), (1, 0));
}

pub(crate) fn a_claim_whose_answer_was_lost_is_given_back<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = write(&mut conn, 0, None);
    write(&mut conn, 1, Some("k"));
    write(&mut conn, 2, None);
    let (lost, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(conn.claim(lost, MINUTE, 2).unwrap().len(), 2);
    assert_eq!(bodies(&conn.claim(other, MINUTE, 9).unwrap()), ["2"]);
    assert_eq!(conn.settle_sent(lost, &[nth(1, first)]).unwrap(), 1);
    assert_eq!(conn.release_all(lost).unwrap(), 1);
    assert_eq!(conn.release_all(lost).unwrap(), 0);
    assert_eq!(bodies(&conn.claim(lost, MINUTE, 9).unwrap()), ["1"]);
}

pub(crate) fn a_failing_row_holds_up_its_key_and_nothing_else<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = write(&mut conn, 0, Some("k"));
    write(&mut conn, 1, Some("k"));
    write(&mut conn, 2, Some("other"));
    write(&mut conn, 3, None);
    let token = Uuid::new_v4();
    assert_eq!(bodies(&conn.claim(token, MINUTE, 1).unwrap()), ["0"]);
    let failures = [failure(nth(1, first), Verdict::Retry(MINUTE))];
    assert_eq!(conn.settle_failed(token, &failures).unwrap(), 1);
    let rest = conn.claim(Uuid::new_v4(), MINUTE, 10).unwrap();
    assert_eq!(bodies(&rest), ["2", "3"]);
    conn.batch_execute("update published set due_at = added where retry = 1")
        .unwrap();
    let rows = conn.claim(token, MINUTE, 10).unwrap();
    assert_eq!(bodies(&rows), ["0", "1"]);
    assert_eq!(rows[0].retry, 1);
}

pub(crate) fn a_skipped_row_lets_its_key_go_on<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let first = write(&mut conn, 0, Some("k"));
    write(&mut conn, 1, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(token, MINUTE, 1).unwrap();
    conn.settle_failed(token, &[failure(nth(1, first), Verdict::Park)])
        .unwrap();
    assert!(conn.claim(token, MINUTE, 10).unwrap().is_empty());
    assert_eq!(conn.skip_failed(&[first]).unwrap(), 1);
    assert_eq!(bodies(&conn.claim(token, MINUTE, 10).unwrap()), ["1"]);
    assert_eq!(conn.counts().unwrap().failed, 1, "it stays, visible");
}

pub(crate) fn a_retried_row_starts_anew<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = write(&mut conn, 0, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(token, MINUTE, 1).unwrap();
    conn.settle_failed(token, &[failure(nth(1, id), Verdict::Park)])
        .unwrap();
    assert_eq!(conn.retry_failed(&[Uuid::new_v4()]).unwrap(), 0);
    assert_eq!(conn.retry_failed::<Uuid>(&[]).unwrap(), 1);
    let rows = conn.claim(token, MINUTE, 1).unwrap();
    assert_eq!((rows[0].id, rows[0].retry), (id, 0));
}

pub(crate) fn an_expired_row_says_so_and_is_out_of_the_way<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = write(&mut conn, 0, Some("k"));
    write(&mut conn, 1, Some("k"));
    conn.batch_execute("update published set expires_at = added where seq = 1")
        .unwrap();
    let token = Uuid::new_v4();
    let rows = conn.claim(token, MINUTE, 1).unwrap();
    assert!(rows[0].expired);
    conn.settle_failed(token, &[failure(nth(1, id), Verdict::Expire)])
        .unwrap();
    let rows = conn.claim(token, MINUTE, 10).unwrap();
    assert_eq!(bodies(&rows), ["1"]);
    assert!(!rows[0].expired);
    assert_eq!(conn.counts().unwrap().failed, 1);
    // Sent again by hand, it does not expire at once.
    assert_eq!(conn.retry_failed(&[id]).unwrap(), 1);
    assert!(!conn.claim(token, MINUTE, 10).unwrap()[0].expired);
}

/// Writes a row of a stream.
fn write_to<C: Subject>(conn: &mut C, body: i64, stream: &str, key: Option<&str>) -> Uuid {
    Message::new("/queue/a", body)
        .stream(stream)
        .key(key.map(str::to_owned))
        .publish(conn)
        .unwrap()
}

pub(crate) fn a_part_of_the_outbox_is_claimed_alone<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    write(&mut conn, 0, None);
    write_to(&mut conn, 1, "it's \"a\\b\"", None);
    write_to(&mut conn, 2, "other", None);
    Message::new("/topic/b", 3).publish(&mut conn).unwrap();
    let only = |streams: &[&str], destinations: &[&str]| Scope {
        streams: streams.iter().map(|&name| name.to_owned()).collect(),
        destinations: destinations.iter().map(|&name| name.to_owned()).collect(),
        ..Scope::default()
    };
    let mut claimed = |only: &Scope| -> Vec<String> {
        let token = Uuid::new_v4();
        let rows = conn.claim_in(only, token, MINUTE, 9).unwrap();
        conn.release(token, &keys(&rows)).unwrap();
        bodies(&rows).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(claimed(&only(&["it's \"a\\b\""], &[])), ["1"]);
    assert_eq!(claimed(&only(&["other", "it's \"a\\b\""], &[])), ["1", "2"]);
    assert_eq!(claimed(&only(&[], &["/topic/b"])), ["3"]);
    assert_eq!(claimed(&only(&["other"], &["/topic/b"])), [""; 0]);
    assert_eq!(claimed(&only(&["nobody's"], &[])), [""; 0]);
    assert_eq!(claimed(&only(&[], &[])), ["0", "1", "2", "3"]);
}

pub(crate) fn a_paused_stream_waits_and_holds_up_its_keys<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    write_to(&mut conn, 0, "slow", Some("k"));
    write_to(&mut conn, 1, "quick", Some("k"));
    write_to(&mut conn, 2, "quick", None);
    write(&mut conn, 3, None);
    conn.pause_stream("slow", true).unwrap();
    conn.pause_stream("unknown", true).unwrap();
    assert_eq!(conn.paused_streams().unwrap(), ["slow", "unknown"]);
    let token = Uuid::new_v4();
    // The row of the quick stream has to follow that of the slow one.
    let rows = conn.claim(token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2", "3"]);
    let quick = Scope {
        streams: vec!["quick".to_owned()],
        ..Scope::default()
    };
    assert!(conn.claim_in(&quick, token, MINUTE, 9).unwrap().is_empty());
    conn.pause_stream("slow", false).unwrap();
    // Nor does a relay of that stream alone send it before.
    assert!(conn.claim_in(&quick, token, MINUTE, 9).unwrap().is_empty());
    assert_eq!(bodies(&conn.claim(token, MINUTE, 9).unwrap()), ["0", "1"]);
}

pub(crate) fn a_delayed_row_waits_and_may_be_cancelled<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let delayed = |body: i64| Message::new("/queue/a", body).key("k".to_owned());
    let first = delayed(0).delay(MINUTE).publish(&mut conn).unwrap();
    let second = delayed(1).publish(&mut conn).unwrap();
    write(&mut conn, 2, None);
    let token = Uuid::new_v4();
    let rows = conn.claim(token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2"], "the second follows the first");
    assert_eq!(conn.cancel(&ids(&rows)).unwrap(), 0, "it is on its way");
    assert_eq!(conn.cancel(&[first]).unwrap(), 1);
    assert_eq!(conn.cancel(&[first]).unwrap(), 0, "it is parked");
    assert_eq!(bodies(&conn.claim(token, MINUTE, 9).unwrap()), ["1"]);
    assert_eq!(conn.settle_sent(token, &[nth(2, second)]).unwrap(), 1);
    assert_eq!(conn.cancel(&[second]).unwrap(), 0, "it was sent");
    let counts = conn.counts().unwrap();
    assert_eq!((counts.failed, counts.sent), (1, 1));
    // And sent after all.
    assert_eq!(conn.retry_failed(&[first]).unwrap(), 1);
    assert_eq!(bodies(&conn.claim(token, MINUTE, 9).unwrap()), ["0"]);
}

pub(crate) fn a_destination_set_aside_waits_and_holds_up_its_keys<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let to = |conn: &mut C, body: i64, destination: &str, key: Option<&str>| {
        Message::new(destination, body)
            .key(key.map(str::to_owned))
            .publish(conn)
            .unwrap();
    };
    to(&mut conn, 0, "/queue/bad", Some("k"));
    to(&mut conn, 1, "/queue/a", Some("k"));
    to(&mut conn, 2, "/queue/a", Some("other"));
    to(&mut conn, 3, "/queue/bad", None);
    let scope = Scope {
        set_aside: vec!["/queue/bad".to_owned()],
        ..Scope::default()
    };
    let token = Uuid::new_v4();
    let rows = conn.claim_in(&scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2"]);
    let rows = conn.claim(token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["0", "1", "3"]);
}

pub(crate) fn a_rule_gives_keys_to_rows_without_one<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let mut ids = Vec::new();
    for (body, destination, stream) in [
        (0, "/queue/a", None),
        (1, "/queue/b", Some("it's \"s\"")),
        (2, "/queue/a", Some("it's \"s\"")),
        (3, "/queue/a", None),
        (4, "/queue/c", None),
    ] {
        let mut message = Message::new(destination, body);
        if let Some(stream) = stream {
            message = message.stream(stream);
        }
        ids.push(message.publish(&mut conn).unwrap());
    }
    let own = Message::new("/queue/a", 5).key("own".to_owned());
    own.publish(&mut conn).unwrap();
    let scope = Scope {
        ordered_streams: vec!["it's \"s\"".to_owned()],
        ordered_destinations: vec!["/queue/a".to_owned()],
        ..Scope::default()
    };
    let token = Uuid::new_v4();
    let rows = conn.claim_in(&scope, token, MINUTE, 2).unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref()).collect();
    assert_eq!(
        keys,
        [Some("destination:/queue/a"), Some("stream:it's \"s\"")]
    );
    // 2 waits for 1, its stream's, and 3 for 0.
    let rest = conn.claim_in(&scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rest), ["4", "5"]);
    assert_eq!(rest[0].key, None);
    assert_eq!(rest[1].key.as_deref(), Some("own"));
    conn.settle_sent(token, &[nth(1, ids[0])]).unwrap();
    let rest = conn.claim_in(&scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rest), ["3"]);
    conn.settle_sent(token, &[nth(2, ids[1])]).unwrap();
    let rest = conn.claim_in(&scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rest), ["2"]);
}

pub(crate) fn a_claim_from_further_on_keeps_the_order_of_keys<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let mut ids = Vec::new();
    for (body, key) in [
        (0, Some("tried")),
        (1, Some("waits")),
        (2, None),
        (3, Some("waits")),
        (4, Some("tried")),
        (5, Some("free")),
        (6, None),
        (7, Some("sent")),
        (8, Some("sent")),
        (9, Some("parked")),
        (10, Some("parked")),
    ] {
        ids.push(write(&mut conn, body, key));
    }
    assert_eq!(conn.last_waiting().unwrap(), Some(11));
    let token = Uuid::new_v4();
    conn.run("update published set due_at = added where seq = 1")
        .unwrap();
    conn.run("update published set status = 2 where seq = 8")
        .unwrap();
    // Out of the way, as one that was skipped.
    conn.run("update published set status = -1 where seq = 10")
        .unwrap();
    let from = |from: i64| Scope {
        from: Some(from),
        ..Scope::default()
    };
    let rows = conn.claim_in(&from(4), token, MINUTE, 9).unwrap();
    // Of 0 and 1 it cannot tell whether another relay sends them now.
    assert_eq!(bodies(&rows), ["5", "6", "8", "10"]);
    assert_eq!(
        bodies(&conn.claim_in(&from(3), token, MINUTE, 9).unwrap()),
        ["2"]
    );
    let rows = conn.claim(token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["0", "1", "3", "4"]);
    // Neither while they are leased.
    conn.release(token, &[nth(4, ids[3]), nth(5, ids[4])])
        .unwrap();
    let rows = conn.claim_in(&from(4), token, MINUTE, 9).unwrap();
    assert!(rows.is_empty());
    let rows: Vec<RowKey> = (1..).zip(&ids).map(|(seq, id)| nth(seq, *id)).collect();
    conn.settle_sent(token, &rows).unwrap();
    assert_eq!(conn.last_waiting().unwrap(), Some(5));
}

pub(crate) fn a_row_passed_by_is_parked_and_its_key_goes_on<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = write(&mut conn, 0, Some("k"));
    write(&mut conn, 1, Some("k"));
    let token = Uuid::new_v4();
    conn.claim(token, MINUTE, 1).unwrap();
    conn.settle_failed(token, &[failure(nth(1, id), Verdict::PassBy)])
        .unwrap();
    assert_eq!(bodies(&conn.claim(token, MINUTE, 9).unwrap()), ["1"]);
    assert_eq!(conn.counts().unwrap().failed, 1);
}

pub(crate) fn rows_under_our_own_leases_hold_up_no_own_key<C: Subject>(url: &str) {
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
        ids.push(write(&mut conn, body, Some(key)));
    }
    let [first, second, other] = [(); 3].map(|()| Uuid::new_v4());
    let own = |keys: &[&str], tokens: &[Uuid]| Scope {
        own_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        own_tokens: tokens.to_vec(),
        ..Scope::default()
    };
    let keys = ["a", "it's \"b\"", ""];
    let none = own(&["nobody's"], &[]);
    let rows = conn.claim_in(&none, first, MINUTE, 3).unwrap();
    assert_eq!(bodies(&rows), ["0", "1", "2"]);
    // Another relay waits, and so does what is not named.
    let rows = conn.claim_in(&own(&keys, &[other]), other, MINUTE, 9);
    assert_eq!(bodies(&rows.unwrap()), ["7"]);
    let ours = own(&keys, &[first, second]);
    let rows = conn.claim_in(&ours, second, MINUTE, 2).unwrap();
    assert_eq!(bodies(&rows), ["3", "4"]);
    // A failure holds up its key whoever asks.
    let failures = [failure(nth(4, ids[3]), Verdict::Retry(MINUTE))];
    conn.settle_failed(second, &failures).unwrap();
    let third = Uuid::new_v4();
    let rows = conn.claim_in(&ours, third, MINUTE, 9).unwrap();
    assert!(rows.is_empty());
    conn.settle_sent(first, &[nth(3, ids[2])]).unwrap();
    let rows = conn.claim_in(&ours, third, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["5"]);
}

/// MariaDB cuts what a statement puts together to the length that is set.
pub(crate) fn a_claim_is_whole_whatever_the_session_says<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for n in 0..50 {
        write(&mut conn, n, None);
    }
    if C::NAME.starts_with("MySQL") {
        conn.batch_execute("set session group_concat_max_len = 64")
            .unwrap();
    }
    let rows = conn.claim(Uuid::new_v4(), MINUTE, 50).unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<i64>>());
}

pub(crate) fn a_claim_brings_no_more_bytes_than_there_is_room_for<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    // One letter over and over, so that the database stores it in less.
    let text = "x".repeat(100_000);
    for n in 0..6 {
        let key = (n < 5).then(|| "k".to_owned());
        let message = Message::new("/queue/a", format!("{n}{text}"));
        message.key(key).publish(&mut conn).unwrap();
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
            .take(&everything, Uuid::new_v4(), MINUTE, room)
            .unwrap();
        let seqs: Vec<i64> = claim.rows.iter().map(|row| row.seq).collect();
        (seqs, claim.too_many, claim.mean_size.unwrap_or_default())
    };
    let (rows, too_many, mean) = take(&mut conn, 250_000, true);
    assert_eq!((rows, too_many), (vec![1, 2], 4));
    assert!((90_000..110_000).contains(&mean), "{mean}");
    // What was given back is no less due; 3 follows 1 and 2.
    let (rows, too_many, _) = take(&mut conn, 250_000, true);
    assert_eq!((rows, too_many), (vec![6], 0));
    conn.run("update published set status = 2 where seq in (1, 2, 6)")
        .unwrap();
    assert_eq!(take(&mut conn, 1_000, false).0, [0; 0], "it does not fit");
    assert_eq!(take(&mut conn, 1_000, true).0, [3], "alone it may");
}

pub(crate) fn a_body_too_large_to_be_sent_is_not_read<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for length in [10, 400_000, 10, 400_000] {
        let message = Message::new("/queue/a", "x".repeat(length));
        message.publish(&mut conn).unwrap();
    }
    let room = Room {
        rows: 10,
        bytes: 100_000,
        largest: 300_000,
        any_first: false,
    };
    let everything = Scope::default();
    let claim = conn
        .take(&everything, Uuid::new_v4(), MINUTE, room)
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

pub(crate) fn rows_that_have_not_failed_are_taken_by_themselves<C: Subject>(url: &str) {
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
        write(&mut conn, body, key);
    }
    conn.run("update published set retry = 1, due_at = added where seq in (1, 2)")
        .unwrap();
    let mut claimed = |freshness: Freshness, limit: usize| -> Vec<String> {
        let token = Uuid::new_v4();
        let scope = Scope {
            freshness,
            ..Scope::default()
        };
        let rows = conn.claim_in(&scope, token, MINUTE, limit).unwrap();
        conn.release(token, &keys(&rows)).unwrap();
        bodies(&rows).into_iter().map(str::to_owned).collect()
    };
    // 2 follows one that failed, 4 follows 3.
    assert_eq!(claimed(Freshness::Fresh, 9), ["3", "5", "6"]);
    assert_eq!(claimed(Freshness::Newest, 9), ["3", "5", "6"]);
    assert_eq!(claimed(Freshness::Fresh, 1), ["3"]);
    assert_eq!(claimed(Freshness::Newest, 1), ["6"]);
}

pub(crate) fn an_id_in_any_spelling_is_settled_and_found<C: Subject>(url: &str) {
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
        conn.run(&format!(
            "insert into published (id, destination, body) values ('{id}', '/queue/a', '1')"
        ))
        .unwrap();
    }
    let token = Uuid::new_v4();
    let rows = conn.claim(token, MINUTE, 99).unwrap();
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
    assert_eq!(conn.release(token, &keys(&rows)).unwrap(), rows.len());
    let rows = conn.claim(token, MINUTE, 99).unwrap();
    let failures: Vec<_> = rows
        .iter()
        .map(|row| failure(row.row(), Verdict::Park))
        .collect();
    assert_eq!(conn.settle_failed(token, &failures).unwrap(), rows.len());
    // An operator copies what a log line says: the usual spelling.
    let named: Vec<String> = rows
        .iter()
        .map(|row| row.bad_id.clone().unwrap_or_else(|| row.id.to_string()))
        .collect();
    assert_eq!(conn.skip_failed(&named).unwrap(), rows.len());
    assert_eq!(conn.retry_failed(&named).unwrap(), rows.len());
    assert_eq!(conn.retry_failed(&named).unwrap(), 0, "they are not parked");
    let named = ["{A1A2A3A4B1B2C1C2D1D2D3D4D5D6D7D8}", "nobody"];
    assert_eq!(conn.cancel(&named).unwrap(), 1);
    assert_eq!(conn.retry_failed(&[spelled(0)]).unwrap(), 1);
    let rows = conn.claim(token, MINUTE, 99).unwrap();
    assert_eq!(conn.settle_sent(token, &keys(&rows)).unwrap(), rows.len());
    assert_eq!(conn.counts().unwrap().sent, stored.len() as i64);
}

/// The database's clock is an hour ahead of the writer's, as far as a session can set it.
pub(crate) fn times_count_by_the_databases_clock<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    conn.batch_execute(match C::NAME {
        "PostgreSQL" => {
            "create schema early;
            create function early.clock_timestamp() returns timestamptz language sql
                as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$;
            set search_path = early, pg_catalog, public"
        }
        "SQLite" => "select 1",
        _ => "set timestamp = unix_timestamp() + 3600",
    })
    .unwrap();
    let after = |seconds: i64| match C::NAME {
        "PostgreSQL" => format!("clock_timestamp() + interval '{seconds} s'"),
        "SQLite" => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '+{seconds} seconds') || '000'"),
        _ => format!("utc_timestamp(6) + interval {seconds} second"),
    };
    let message = || Message::new("/queue/a", 1);
    message()
        .delay(MINUTE)
        .expires_in(3 * MINUTE)
        .publish(&mut conn)
        .unwrap();
    let mut count = |column: &str, from: i64, to: i64| {
        let (from, to) = (after(from), after(to));
        let condition = format!("{column} > {from} and {column} <= {to}");
        conn.run(&format!("update published set retry = 0 where {condition}"))
            .unwrap()
    };
    assert_eq!(count("due_at", 30, 61), 1);
    assert_eq!(count("expires_at", 150, 181), 1);
    // Neither late nor expired at once.
    message().expires_in(MINUTE).publish(&mut conn).unwrap();
    message().delay(Duration::ZERO).publish(&mut conn).unwrap();
    let rows = conn.claim(Uuid::new_v4(), MINUTE, 9).unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [2, 3]);
    assert!(rows.iter().all(|row| !row.expired));
    // What is absolute stays as it is.
    let moment: chrono::DateTime<chrono::Utc> = "2031-02-03T04:05:06Z".parse().unwrap();
    message()
        .due_at(moment)
        .expires_at(moment)
        .publish(&mut conn)
        .unwrap();
    let at = match C::NAME {
        "PostgreSQL" => "'2031-02-03T04:05:06Z'",
        _ => "'2031-02-03 04:05:06.000000'",
    };
    let same = conn.run(&format!(
        "update published set retry = 0 where due_at = {at} and expires_at = {at}"
    ));
    assert_eq!(same.unwrap(), 1);
}
