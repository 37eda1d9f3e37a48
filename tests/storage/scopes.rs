//! Claims of a part of the outbox: streams, destinations, rules for keys, and a place to begin.

use diesel_outbox::backend::Scope;

use super::claims::{bodies, keys};
use super::*;

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
        let rows = conn.claim_in(PUBLISHED, only, token, MINUTE, 9).unwrap();
        conn.release(PUBLISHED, token, &keys(&rows)).unwrap();
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
    // The row of the quick stream must follow that of the slow one.
    let rows = conn.claim(PUBLISHED, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2", "3"]);
    let quick = Scope {
        streams: vec!["quick".to_owned()],
        ..Scope::default()
    };
    assert!(
        conn.claim_in(PUBLISHED, &quick, token, MINUTE, 9)
            .unwrap()
            .is_empty()
    );
    conn.pause_stream("slow", false).unwrap();
    // A relay of that stream alone does not send it earlier either.
    assert!(
        conn.claim_in(PUBLISHED, &quick, token, MINUTE, 9)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        bodies(&conn.claim(PUBLISHED, token, MINUTE, 9).unwrap()),
        ["0", "1"]
    );
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
        open_circuits: vec!["/queue/bad".to_owned()],
        ..Scope::default()
    };
    let token = Uuid::new_v4();
    let rows = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["2"]);
    let rows = conn.claim(PUBLISHED, token, MINUTE, 9).unwrap();
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
    let rows = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 2).unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref()).collect();
    assert_eq!(
        keys,
        [Some("destination:/queue/a"), Some("stream:it's \"s\"")]
    );
    // 2 waits for 1, of its stream, and 3 for 0.
    let rest = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rest), ["4", "5"]);
    assert_eq!(rest[0].key, None);
    assert_eq!(rest[1].key.as_deref(), Some("own"));
    conn.settle_sent(PUBLISHED, token, &[nth(1, ids[0])])
        .unwrap();
    let rest = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rest), ["3"]);
    conn.settle_sent(PUBLISHED, token, &[nth(2, ids[1])])
        .unwrap();
    let rest = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 9).unwrap();
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
    assert_eq!(conn.last_waiting(PUBLISHED).unwrap(), Some(11));
    let token = Uuid::new_v4();
    conn.run("update published set due_at = added where seq = 1")
        .unwrap();
    conn.run("update published set status = 2 where seq = 8")
        .unwrap();
    // No longer in the way, like a skipped row.
    conn.run("update published set status = -1 where seq = 10")
        .unwrap();
    let from = |from: i64| Scope {
        from: Some(from),
        ..Scope::default()
    };
    // The same, looked up once for each of our keys.
    let own = Scope {
        own_keys: ["tried", "waits", "free", "sent", "parked"]
            .map(str::to_owned)
            .to_vec(),
        ..from(4)
    };
    let rows = conn.claim_in(PUBLISHED, &own, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["5", "6", "8", "10"]);
    conn.release(PUBLISHED, token, &keys(&rows)).unwrap();
    let rows = conn
        .claim_in(PUBLISHED, &from(4), token, MINUTE, 9)
        .unwrap();
    // Not 3 and 4: another relay may be sending 0 and 1.
    assert_eq!(bodies(&rows), ["5", "6", "8", "10"]);
    assert_eq!(
        bodies(
            &conn
                .claim_in(PUBLISHED, &from(3), token, MINUTE, 9)
                .unwrap()
        ),
        ["2"]
    );
    let rows = conn.claim(PUBLISHED, token, MINUTE, 9).unwrap();
    assert_eq!(bodies(&rows), ["0", "1", "3", "4"]);
    // Nor while they are leased.
    conn.release(PUBLISHED, token, &[nth(4, ids[3]), nth(5, ids[4])])
        .unwrap();
    let rows = conn
        .claim_in(PUBLISHED, &from(4), token, MINUTE, 9)
        .unwrap();
    assert!(rows.is_empty());
    let rows: Vec<RowKey> = (1..).zip(&ids).map(|(seq, id)| nth(seq, *id)).collect();
    conn.settle_sent(PUBLISHED, token, &rows).unwrap();
    assert_eq!(conn.last_waiting(PUBLISHED).unwrap(), Some(5));
}

/// Keys with many waiting rows are examined once: blocked from the first row or from a later one, leased by another
/// relay, leased by ours, and free.
pub(crate) fn a_crowd_behind_a_row_is_claimed_in_order<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let crowd = ["it's \"parked\"", "later", "theirs", "ours", "free"];
    for n in 0..10 {
        for (number, key) in (0..).zip(crowd) {
            write(&mut conn, 10 * number + n, Some(key));
        }
        write(&mut conn, 50 + n, None);
    }
    let set = |conn: &mut C, body: i64, state: &str| {
        let seq = body % 10 * 6 + body / 10 + 1;
        conn.run(&format!("update published set {state} where seq = {seq}"))
            .unwrap();
    };
    set(&mut conn, 0, "status = -1, due_at = '9000-01-01'");
    set(&mut conn, 15, "due_at = '9000-01-01'");
    let [theirs, ours] = [(); 2].map(|()| Uuid::new_v4());
    set(
        &mut conn,
        20,
        &format!("due_at = '9000-01-01', lease_token = '{theirs}'"),
    );
    set(
        &mut conn,
        30,
        &format!("due_at = '9000-01-01', lease_token = '{ours}'"),
    );
    let plain = Scope {
        own_keys: vec!["ours".to_owned()],
        own_tokens: vec![ours],
        ..Scope::default()
    };
    let crowded = Scope {
        is_crowded: true,
        ..plain.clone()
    };
    let mut expected: Vec<i64> = (0..10)
        .flat_map(|n| (0..6).map(move |number| 10 * number + n))
        .filter(|body| matches!(body, 10..=14 | 31..=59))
        .collect();
    for scope in [&plain, &crowded] {
        let token = Uuid::new_v4();
        let rows = conn.claim_in(PUBLISHED, scope, token, MINUTE, 99).unwrap();
        let claimed: Vec<i64> = rows.iter().map(|row| row.body.parse().unwrap()).collect();
        assert_eq!(claimed, expected);
        conn.release(PUBLISHED, token, &keys(&rows)).unwrap();
    }
    // Others block it, although it is our own.
    set(&mut conn, 30, &format!("lease_token = '{theirs}'"));
    expected.retain(|body| !matches!(body, 30..=39));
    for scope in [plain, crowded] {
        let token = Uuid::new_v4();
        let rows = conn.claim_in(PUBLISHED, &scope, token, MINUTE, 99).unwrap();
        let claimed: Vec<i64> = rows.iter().map(|row| row.body.parse().unwrap()).collect();
        assert_eq!(claimed, expected);
        conn.release(PUBLISHED, token, &keys(&rows)).unwrap();
    }
}
