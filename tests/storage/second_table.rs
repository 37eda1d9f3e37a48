//! The lifecycle of calls beside that of messages.

use diesel_outbox::admin::RowState;
use diesel_outbox::backend::{CALLS, FailureAction, Scope};

use super::claims::{failure, keys};
use super::*;

fn call<C: Subject>(conn: &mut C, name: &str, key: Option<&str>) -> Uuid {
    let id = Uuid::now_v7();
    let quote = if C::NAME == "MySQL/MariaDB" {
        "`"
    } else {
        "\""
    };
    let key = key.map_or("null".to_owned(), |key| format!("'{key}'"));
    C::run(
        conn,
        &format!(
            "insert into outbox_calls (id, name, args, {quote}key{quote})
             values ('{id}', '{name}', '{{\"n\": 1}}', {key})"
        ),
    )
    .unwrap();
    id
}

pub(crate) fn a_second_table_has_the_same_lifecycle<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    if C::NAME == "MySQL/MariaDB" {
        // Claims make the row of their lock if it is missing.
        conn.batch_execute("delete from outbox_jobs where name <> 'claim'")
            .unwrap();
    }
    // A row of the outbox with the same key.
    let message = write(conn, 7, Some("k"));
    let before = conn.count(PUBLISHED).unwrap();
    let (first, second) = (call(conn, "a", Some("k")), call(conn, "a", Some("k")));
    let (third, other) = (call(conn, "a", None), call(conn, "b", None));

    // Claims of a part, in order; settled, failed and released.
    let token = Uuid::new_v4();
    let only_a = Scope {
        destinations: vec!["a".to_owned()],
        ..Scope::default()
    };
    let rows = conn.claim_in(CALLS, &only_a, token, MINUTE, 9).unwrap();
    let found: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    assert_eq!(found, [first, second, third]);
    assert_eq!(rows[0].destination, "a");
    assert!(rows[0].body.contains("\"n\""));
    assert_eq!(
        conn.state(CALLS, &first.to_string()).unwrap(),
        Some(RowState::Leased)
    );
    let rows = keys(&rows);
    assert_eq!(conn.under(CALLS, token, &rows).unwrap(), rows);
    assert_eq!(conn.not_locked(CALLS, &rows).unwrap(), rows);
    assert_eq!(conn.settle_sent(CALLS, token, &rows[..1]).unwrap(), 1);
    let retry = [failure(rows[1], FailureAction::Retry(MINUTE))];
    assert_eq!(conn.settle_failed(CALLS, token, &retry).unwrap(), 1);
    assert_eq!(conn.release(CALLS, token, &rows[2..]).unwrap(), 1);
    let count = conn.count(CALLS).unwrap();
    assert_eq!((count.waiting, count.not_due, count.succeeded), (3, 1, 1));

    // A lost claim is released; a parked row blocks its key until it is skipped.
    let fourth = call(conn, "c", Some("k"));
    assert_eq!(conn.claim(CALLS, token, MINUTE, 9).unwrap().len(), 2);
    assert_eq!(conn.release_all(CALLS, token).unwrap(), 2);
    let rows = conn.claim(CALLS, token, MINUTE, 1).unwrap();
    let park = [failure(rows[0].row(), FailureAction::Park)];
    assert_eq!(conn.settle_failed(CALLS, token, &park).unwrap(), 1);
    assert_eq!(
        conn.state(CALLS, &third.to_string()).unwrap(),
        Some(RowState::Parked)
    );
    assert_eq!(conn.retry(CALLS, &[third]).unwrap(), 1);
    assert_eq!(conn.cancel(CALLS, &[second, third]).unwrap(), 2);
    assert_eq!(conn.skip(CALLS, &[second]).unwrap(), 1);
    assert_eq!(conn.count(CALLS).unwrap().parked, 2);
    assert!(conn.last_waiting(CALLS).unwrap().is_some());
    assert_eq!(conn.waiting(CALLS).unwrap().0, 2);
    assert_eq!(
        conn.left(CALLS, &[], &["b".to_owned()], i64::MAX).unwrap(),
        1
    );
    let rows = conn.claim(CALLS, token, MINUTE, 9).unwrap();
    let found: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    assert_eq!(found, [other, fourth]);

    // Cleaning deletes what succeeded. The outbox is unchanged, and may be claimed at the same time.
    let now = conn.now().unwrap() + MINUTE;
    assert_eq!(conn.delete_settled(CALLS, now, 9).unwrap(), 1);
    assert_eq!(conn.count(CALLS).unwrap().succeeded, 0);
    assert_eq!(conn.count(PUBLISHED).unwrap(), before);
    let rows = conn.claim(PUBLISHED, token, MINUTE, 9).unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [message]);
}
