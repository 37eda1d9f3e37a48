//! Rows that another session has locked, and sessions that stop in the middle.

use std::time::Instant;

use diesel_outbox::backend::{Claimed, LockedRow, Room, Scope};

use super::*;
use crate::support::network::{Mode, Network};

/// Far below any server's wait for a lock, and far above the time of a statement.
const SOON: Duration = Duration::from_secs(3);

fn take<C: Subject, R: Kind>(
    conn: &mut C,
    token: Uuid,
    scope: &Scope,
) -> (Vec<i64>, Vec<LockedRow>) {
    let room = Room {
        rows: 10,
        bytes: 1_000_000,
        largest: 1_000_000,
        any_first: true,
    };
    let began = Instant::now();
    let claim = conn.take(R::TABLE, scope, token, MINUTE, room).unwrap();
    assert!(began.elapsed() < SOON, "it waited for a lock");
    let seqs = claim.rows.iter().map(|row| row.seq).collect();
    (seqs, claim.locked)
}

/// A session that has locked these rows, until it is dropped.
fn lock<C: Subject, R: Kind>(url: &str, rows: &str) -> C {
    let mut other = connect::<C>(url);
    other
        .batch_execute(&R::on(&format!(
            "begin; select id from published where {rows} for update"
        )))
        .unwrap();
    other
}

pub(crate) fn a_locked_row_holds_up_its_key_and_nothing_else<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let mut ids = Vec::new();
    for key in [None, Some("k"), Some("k"), Some("other"), None, Some("k")] {
        ids.push(R::write(&mut conn, 0, key));
    }
    let mut other = lock::<C, R>(url, "seq in (1, 3)");
    let token = Uuid::new_v4();
    let (rows, locked) = take::<C, R>(&mut conn, token, &Scope::default());
    // 2 is before the locked row of its key, 6 behind it.
    assert_eq!(rows, [2, 4, 5]);
    let seen = |n: usize, key: Option<&str>| LockedRow {
        seq: n as i64,
        id: ids[n - 1].to_string(),
        key: key.map(str::to_owned),
    };
    let mut found = locked.clone();
    found.sort_by_key(|row| row.seq);
    assert_eq!(found, [seen(1, None), seen(3, Some("k"))]);
    assert_eq!(
        conn.settle_sent(R::TABLE, token, &[nth(2, ids[1])])
            .unwrap(),
        1
    );
    // The other rows are found without another scan.
    R::write(&mut conn, 0, None);
    let without = Scope {
        not_rows: vec![1, 3],
        not_keys: vec!["k".to_owned()],
        ..Scope::default()
    };
    assert_eq!(take::<C, R>(&mut conn, token, &without), (vec![7], vec![]));
    let (rows, locked) = take::<C, R>(&mut conn, token, &Scope::default());
    assert_eq!((rows, locked.len()), (vec![], 2));
    other.batch_execute("commit").unwrap();
    let (rows, locked) = take::<C, R>(&mut conn, token, &Scope::default());
    assert_eq!((rows, locked), (vec![1, 3, 6], vec![]));
}

/// Between the moment at which a claim finds it and the one at which it would lock it.
pub(crate) fn a_row_parked_during_a_claim_holds_up_its_key<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for key in [None, Some("k"), Some("k")] {
        R::write(&mut conn, 0, key);
    }
    let gate = format!("gate{}", Uuid::new_v4().simple());
    let [trigger, shut, open, waits] = if C::NAME == "PostgreSQL" {
        [
            "create function gate() returns trigger language plpgsql as $$
             begin
                 if new.seq = 1 then perform pg_advisory_xact_lock_shared(77); end if;
                 return new;
             end $$;
             create trigger gate before update on published for each row execute function gate()"
                .to_owned(),
            "select pg_advisory_lock(77)".to_owned(),
            "select pg_advisory_unlock(77)".to_owned(),
            "pg_locks where locktype = 'advisory' and objid = 77 and not granted
             and database = (select oid from pg_database where datname = current_database())"
                .to_owned(),
        ]
    } else {
        [
            format!(
                "create trigger gate before update on published for each row
                 set @gate = if(new.seq = 1, get_lock('{gate}', 30) + release_lock('{gate}'), 0)"
            ),
            format!("select get_lock('{gate}', 0)"),
            format!("select release_lock('{gate}')"),
            "information_schema.processlist where state = 'User lock' and db = database()"
                .to_owned(),
        ]
    };
    conn.batch_execute(&R::on(&trigger)).unwrap();
    let mut keeper = connect::<C>(url);
    keeper.batch_execute(&shut).unwrap();
    let mut other = lock::<C, R>(url, "seq = 2");
    let claim = std::thread::spawn({
        let url = url.to_owned();
        move || {
            let mut conn = connect::<C>(&url);
            let room = Room {
                rows: 10,
                bytes: 1_000_000,
                largest: 1_000_000,
                any_first: true,
            };
            let scope = Scope::default();
            conn.take(R::TABLE, &scope, Uuid::new_v4(), MINUTE, room)
                .unwrap()
        }
    });
    let is_waiting = format!("insert into outbox_streams (name) select 'x' from {waits}");
    let deadline = Instant::now() + MINUTE;
    while conn.run(&is_waiting).unwrap() == 0 {
        assert!(Instant::now() < deadline && !claim.is_finished());
        std::thread::sleep(Duration::from_millis(10));
    }
    other
        .batch_execute(&R::on(
            "update published set status = -1, due_at = '2100-01-01 00:00:00' where seq = 2;
             commit",
        ))
        .unwrap();
    keeper.batch_execute(&open).unwrap();
    let claim = claim.join().unwrap();
    let taken: Vec<i64> = claim.rows.iter().map(|row| row.seq).collect();
    assert_eq!(taken, [1], "not the one behind");
    let locked: Vec<i64> = claim.locked.iter().map(|row| row.seq).collect();
    assert_eq!(locked, [2]);
}

pub(crate) fn a_row_locked_by_somebody_else_is_settled_later<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for _ in 0..6 {
        R::write(&mut conn, 0, None);
    }
    let token = Uuid::new_v4();
    let rows = conn.claim(R::TABLE, token, MINUTE, 9).unwrap();
    let rows: Vec<_> = rows.iter().map(Claimed::row).collect();
    let mut other = lock::<C, R>(url, "seq in (1, 3, 5)");
    let began = Instant::now();
    assert_eq!(conn.settle_sent(R::TABLE, token, &rows[..2]).unwrap(), 1);
    let failures = [2, 3].map(|n| diesel_outbox::backend::Failure {
        row: rows[n],
        action: diesel_outbox::backend::FailureAction::Park,
        reason: "on purpose".to_owned(),
    });
    assert_eq!(conn.settle_failed(R::TABLE, token, &failures).unwrap(), 1);
    assert_eq!(conn.release(R::TABLE, token, &rows[4..]).unwrap(), 1);
    let left = [rows[0], rows[2], rows[4]];
    assert_eq!(conn.under(R::TABLE, token, &rows).unwrap(), left);
    assert_eq!(conn.not_locked(R::TABLE, &rows).unwrap().len(), 3);
    assert!(began.elapsed() < SOON, "it waited for a lock");
    other.batch_execute("commit").unwrap();
    assert_eq!(conn.settle_sent(R::TABLE, token, &left).unwrap(), 3);
    assert_eq!(conn.count(R::TABLE).unwrap().succeeded, 4);
}

pub(crate) fn a_lost_claim_is_given_back_beside_a_locked_row<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    for _ in 0..3 {
        R::write(&mut conn, 0, None);
    }
    let lost = Uuid::new_v4();
    assert_eq!(conn.claim(R::TABLE, lost, MINUTE, 9).unwrap().len(), 3);
    let mut other = lock::<C, R>(url, "seq = 2");
    conn.wait_for_locks(Duration::from_secs(1)).unwrap();
    assert_eq!(conn.release_all(R::TABLE, lost).unwrap(), 2);
    let (rows, _) = take::<C, R>(&mut conn, Uuid::new_v4(), &Scope::default());
    assert_eq!(rows, [1, 3]);
    other.batch_execute("commit").unwrap();
    assert_eq!(conn.release_all(R::TABLE, lost).unwrap(), 1);
}

pub(crate) fn locked_rows_are_cleaned_later<C: Subject, R: Kind>(url: &str) {
    use diesel_outbox::backend::Table;

    let mut conn = connect::<C>(url);
    for _ in 0..3 {
        R::write(&mut conn, 0, None);
    }
    conn.run(&R::on("update published set status = 2")).unwrap();
    for n in 0..3 {
        conn.run(&format!(
            "insert into received (id, msg_id) values ('{}', 'm{n}')",
            Uuid::from_u128(n)
        ))
        .unwrap();
        conn.run(&format!(
            "insert into outbox_deliveries (msg_id, consumer, begun) values ('m{n}', '', 1)"
        ))
        .unwrap();
    }
    let mut other = lock::<C, R>(url, "seq = 2");
    for (table, column) in [("received", "msg_id"), ("outbox_deliveries", "msg_id")] {
        other
            .batch_execute(&format!(
                "select {column} from {table} where msg_id = 'm1' for update"
            ))
            .unwrap();
    }
    let mut clean = |batch: i64| {
        let began = Instant::now();
        let deleted = [R::CLEANED, Table::Received, Table::Deliveries]
            .map(|table| conn.delete_older(table, Duration::ZERO, batch).unwrap());
        assert!(began.elapsed() < SOON, "it waited for a lock");
        deleted
    };
    assert_eq!(clean(9), [2, 2, 2]);
    assert_eq!(clean(9), [0, 0, 0]);
    other.batch_execute("commit").unwrap();
    assert_eq!(clean(9), [1, 1, 1]);
}

pub(crate) fn a_message_is_cancelled_in_a_long_transaction<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let cancelled = R::write(&mut conn, 0, Some("k"));
    for key in [Some("k"), None] {
        R::write(&mut conn, 0, key);
    }
    let mut user = connect::<C>(url);
    user.begin_test_transaction().unwrap();
    assert!(R::cancel(&mut user, cancelled));
    let token = Uuid::new_v4();
    let (rows, locked) = take::<C, R>(&mut conn, token, &Scope::default());
    assert_eq!((rows, locked.len()), (vec![3], 1));
    drop(user);
    // It was rolled back.
    let claimed = |conn: &mut C| {
        let mut rows = Vec::new();
        let deadline = Instant::now() + MINUTE;
        while rows.is_empty() && Instant::now() < deadline {
            rows = take::<C, R>(conn, token, &Scope::default()).0;
        }
        rows
    };
    assert_eq!(claimed(&mut conn), [1, 2]);
}

pub(crate) fn an_operator_does_not_wait_for_a_locked_row_for_ever<C: Subject, R: Kind>(url: &str) {
    let mut conn = connect::<C>(url);
    let id = R::write(&mut conn, 0, None);
    let _other = lock::<C, R>(url, "seq = 1");
    conn.wait_for_locks(Duration::from_secs(1)).unwrap();
    let began = Instant::now();
    let error = conn.cancel(R::TABLE, &[id]).unwrap_err();
    assert!(began.elapsed() < 5 * SOON, "{error}");
    let text = error.to_string().to_ascii_lowercase();
    assert!(text.contains("lock"), "{text}");
}

/// The client neither receives nor sends anything any more, at two moments of a claim.
pub(crate) fn a_claim_that_stalls_stops_no_other<C: Subject, R: Kind>(url: &str) {
    for moment in [&b"outbox"[..], b"commit", b"lease_token"] {
        let mut conn = connect::<C>(url);
        conn.run(&R::on("delete from published")).unwrap();
        for _ in 0..20 {
            R::write(&mut conn, 0, Some("k"));
            R::write(&mut conn, 0, None);
        }
        let network = Network::to(url);
        let mut address = network.address_for(url);
        // Its data must be read.
        match C::NAME {
            "PostgreSQL" => address.push_str("?sslmode=disable"),
            "MySQL/MariaDB" => address.push_str("?ssl_mode=disabled"),
            _ => {}
        }
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (go, may_go) = std::sync::mpsc::channel();
        let stalled = std::thread::spawn(move || {
            let mut conn = connect::<C>(&address);
            ready.send(()).unwrap();
            may_go.recv().unwrap();
            let _ = conn.claim(R::TABLE, Uuid::new_v4(), Duration::ZERO, 5);
        });
        is_ready.recv().unwrap();
        network.set(Mode::StallsAfter(moment));
        go.send(()).unwrap();
        network.wait_for(Mode::Stalled);
        // A claim that arrived completely may still be running.
        let deadline = Instant::now() + SOON;
        let began = Instant::now();
        let rows = conn.claim(R::TABLE, Uuid::new_v4(), MINUTE, 50).unwrap();
        assert!(Instant::now() < deadline, "{:?}", began.elapsed());
        assert!(rows.len() >= 35, "{}", rows.len());
        network.set(Mode::Away);
        stalled.join().unwrap();
    }
}
