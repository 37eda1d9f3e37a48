//! Changes of all rows that a filter accepts.

use std::time::Duration;

use diesel_outbox::admin::{self, Action, AdminError, Filter, RowState, Rows};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// The bodies of the rows in this state.
fn bodies<C: Subject>(conn: &mut C, state: RowState) -> Vec<i64> {
    let filter = Filter::new().state(state);
    let page = admin::list(conn, &filter, None, 2_000).unwrap();
    let body = |id: &str| admin::show(conn, id).unwrap().unwrap().body;
    let bodies = page.rows.iter().map(|row| row.id.as_str()).map(body);
    bodies.map(|body| body.parse().unwrap()).collect()
}

pub(crate) fn what_a_filter_accepts_is_changed_in_batches<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    conn.atomically(|conn| {
        write_all(conn, 1_205);
        Ok::<_, diesel::result::Error>(())
    })
    .unwrap();
    // The last two are another failure.
    execute(
        conn,
        "update published set status = -1, retry = 50, last_error = 'no such customer 7',
             due_at = '9000-01-01 00:00:00.000000'",
    );
    let other = Message::new("/queue/b", 1).publish(conn).unwrap();
    park(conn, &[other], "refused");
    let filter = Filter::new().error("customer").destination("/queue/a");
    let matching = admin::matching(conn, Action::Retry, &filter).unwrap();
    assert_eq!(matching.rows(), 1_205);
    let first = matching.first(conn, 2).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].state, RowState::Parked);
    let mut steps = Vec::new();
    let changed = matching.apply(conn, |rows| steps.push(rows)).unwrap();
    assert_eq!((changed, steps), (1_205, vec![500, 1_000, 1_205]));
    let status = admin::status(conn).unwrap();
    assert_eq!((status.waiting, status.parked), (1_205, 1));
    let row = admin::show(conn, &first[0].id).unwrap().unwrap().row;
    assert_eq!((row.attempts, row.blocks_key), (0, false));
    // A second time there is nothing to do.
    assert_eq!(matching.apply(conn, |_| panic!("no batch")).unwrap(), 0);
    let none = admin::matching(conn, Action::Retry, &filter).unwrap();
    assert_eq!((none.rows(), none.apply(conn, |_| {}).unwrap()), (0, 0));
}

pub(crate) fn only_rows_whose_state_allows_it_are_changed<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let ids = write_all(conn, 5);
    park(conn, &ids[..1], "refused");
    for (set, row) in [
        ("status = 2, sent_at = '2026-11-28 01:02:03.000000'", 1),
        ("lease_token = id, due_at = '8000-01-01 00:00:00.000000'", 2),
        ("lease_token = id, due_at = '2001-01-01 00:00:00.000000'", 3),
    ] {
        let id = ids[row];
        execute(
            conn,
            &format!("update published set {set} where id = '{id}'"),
        );
    }
    let all = Filter::new();
    let mut apply = |action: Action, filter: &Filter| {
        let matching = admin::matching(conn, action, filter).unwrap();
        let changed = matching.apply(conn, |_| {}).unwrap();
        assert_eq!(matching.rows(), changed, "{action:?}");
        changed
    };
    assert_eq!(apply(Action::Skip, &all), 1);
    assert_eq!(apply(Action::Cancel, &all), 2, "the lease of one has ended");
    assert_eq!(
        apply(Action::Cancel, &all.clone().state(RowState::Parked)),
        0
    );
    assert_eq!(apply(Action::Resend, &all), 1);
    assert_eq!(apply(Action::Delete, &all.clone().id(ids[4])), 1);
    assert_eq!(apply(Action::Delete, &all.clone().error("cancelled")), 1);
    assert_eq!(apply(Action::Retry, &all), 1);
    let row = admin::show(conn, ids[1]).unwrap().unwrap().row;
    assert_eq!((row.state, row.attempts), (RowState::Waiting, 0));
    assert!(row.sent_at.is_some(), "when it was sent before");
    assert_eq!(bodies(conn, RowState::Leased), [2]);
    assert_eq!(bodies(conn, RowState::Waiting), [0, 1]);
    assert_eq!(bodies(conn, RowState::Parked), [0; 0]);
}

pub(crate) fn rows_that_change_or_come_after_the_count_are_left<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let ids = write_all(conn, 4);
    park(conn, &ids, "refused");
    let filter = Filter::new().error("refused");
    let matching = admin::matching(conn, Action::Delete, &filter).unwrap();
    assert_eq!(matching.rows(), 4);
    admin::retry(conn, [ids[0]]).unwrap();
    park(conn, &ids[1..2], "something else");
    let later = write(conn, 9);
    park(conn, &[later], "refused");
    assert_eq!(matching.apply(conn, |_| {}).unwrap(), 2);
    assert_eq!(bodies(conn, RowState::Parked), [1, 9]);
    assert_eq!(bodies(conn, RowState::Waiting), [0]);
}

pub(crate) fn filters_select_by_id_and_age<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let ids = write_all(conn, 3);
    for (minutes, id) in [(150, ids[0]), (90, ids[1])] {
        let added = chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
        // Each database reads this as UTC.
        let added = match C::NAME {
            "PostgreSQL" => added.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
            _ => added.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        };
        execute(
            conn,
            &format!("update published set added = '{added}' where id = '{id}'"),
        );
    }
    let none = Filter::new;
    let cases = [
        (none().older_than(HOUR), &ids[..2]),
        (none().newer_than(2 * HOUR), &ids[1..]),
        (none().older_than(HOUR).newer_than(2 * HOUR), &ids[1..2]),
        (none().older_than(Duration::MAX), &[]),
        (none().newer_than(Duration::MAX), &ids[..]),
        (
            none()
                .id(ids[2].simple())
                .id(ids[0].to_string().to_uppercase())
                .id("é"),
            &[ids[0], ids[2]],
        ),
        (none().id("it's").id("a\0b"), &[]),
        (none().id("a\0b"), &[]),
        (none().id(Uuid::nil()), &[]),
    ];
    for (filter, expected) in cases {
        let page = admin::list(conn, &filter, None, 9).unwrap();
        let found: Vec<Uuid> = page
            .rows
            .iter()
            .map(|row| row.id.parse().unwrap())
            .collect();
        assert_eq!(found, expected, "{filter:?}");
        let matching = admin::matching(conn, Action::Cancel, &filter).unwrap();
        assert_eq!(matching.rows(), expected.len() as u64, "{filter:?}");
    }
}

pub(crate) fn changes_of_all_belong_to_the_callers_transaction<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    write_all(&mut conn, 3);
    let undone = conn.atomically(|conn| {
        let all = admin::matching(conn, Action::Cancel, &Filter::new()).unwrap();
        assert_eq!(all.apply(conn, |_| {}).unwrap(), 3);
        let all = admin::matching(conn, Action::Delete, &Filter::new()).unwrap();
        assert_eq!(all.apply(conn, |_| {}).unwrap(), 3);
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    assert!(undone.is_err());
    assert_eq!(admin::status(&mut conn).unwrap().waiting, 3);
}

/// A row that another session has locked holds up no change of other rows. SQLite locks all or nothing.
pub(crate) fn locked_rows_hold_up_no_others<C: Subject>(url: &str) {
    if C::NAME == "SQLite" {
        return;
    }
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 3);
    park(&mut conn, &ids, "refused");
    let mut other = connect::<C>(url);
    execute(
        &mut other,
        &format!(
            "begin; select id from published where id = '{}' for update",
            ids[0]
        ),
    );
    conn.wait_for_locks(Duration::from_secs(1)).unwrap();
    for action in [Action::Skip, Action::Retry, Action::Cancel, Action::Delete] {
        let filter = Filter::new().id(ids[1]).id(ids[2]);
        let matching = admin::matching(&mut conn, action, &filter).unwrap();
        assert_eq!(matching.rows(), 2, "{action:?}");
        assert_eq!(matching.apply(&mut conn, |_| {}).unwrap(), 2, "{action:?}");
    }
    execute(&mut other, "rollback");
}

pub(crate) fn calls_are_changed_by_filters_too<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    write(conn, 1);
    for (id, status) in [(1, 2), (2, -1), (3, 1)] {
        execute(
            conn,
            &format!(
                "insert into outbox_calls (id, name, args, status, lease_token, crashes, last_error)
                 values ('00000000-0000-0000-0000-00000000000{id}', 'charge', '{{}}', {status},
                     '00000000-0000-0000-0000-000000000009', 2, null)"
            ),
        );
    }
    let filter = Filter::new().destination("charge");
    for action in [
        Action::Resend,
        Action::Retry,
        Action::Cancel,
        Action::Delete,
    ] {
        let matching = Rows::Calls.matching(conn, action, &filter).unwrap();
        let expected = match action {
            Action::Cancel | Action::Delete => 3,
            _ => 1,
        };
        assert_eq!(
            matching.apply(conn, |_| {}).unwrap(),
            expected,
            "{action:?}"
        );
        let redirected = matching.redirected_to("/queue/a");
        assert!(matches!(redirected, Err(AdminError::NotRedirectable)));
    }
    assert_eq!(Rows::Calls.count(conn).unwrap(), Default::default());
    assert_eq!(admin::status(conn).unwrap().waiting, 1, "the message stays");
}
