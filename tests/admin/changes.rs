//! Retry, cancel and skip.

use diesel_outbox::admin::{self, Changed, RowState};

use super::*;

/// The states of the rows that were left alone.
fn left(changed: &Changed) -> Vec<(String, Option<RowState>)> {
    let unchanged = changed.unchanged.iter();
    unchanged.map(|one| (one.id.clone(), one.state)).collect()
}

fn state<C: Subject>(conn: &mut C, id: Uuid) -> RowState {
    admin::show(conn, id).unwrap().unwrap().row.state
}

pub(crate) fn parked_rows_are_retried<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 3);
    park(&mut conn, &ids[..1], "refused");
    execute(
        &mut conn,
        &format!("update published set status = 2 where id = '{}'", ids[2]),
    );
    let named = [&ids[0], &ids[1], &ids[2], &Uuid::nil(), &ids[0]];
    let changed = admin::retry(&mut conn, named).unwrap();
    assert_eq!(changed.rows, 1, "each id once");
    assert_eq!(
        left(&changed),
        [
            (ids[1].to_string(), Some(RowState::Waiting)),
            (ids[2].to_string(), Some(RowState::Sent)),
            (Uuid::nil().to_string(), None),
        ]
    );
    let row = admin::show(&mut conn, ids[0]).unwrap().unwrap().row;
    assert_eq!((row.state, row.attempts), (RowState::Waiting, 0));
    assert_eq!(
        changed.unchanged[1].to_string(),
        format!("`{}` (sent)", ids[2])
    );
    let nothing = admin::retry(&mut conn, Vec::<Uuid>::new()).unwrap();
    assert_eq!(nothing, Changed::default(), "no ids are no rows");
}

pub(crate) fn waiting_rows_are_cancelled<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 3);
    execute(
        &mut conn,
        &format!(
            "update published set lease_token = id, due_at = '8000-01-01 00:00:00.000000'
             where id = '{}'",
            ids[1]
        ),
    );
    let changed = admin::cancel(&mut conn, &ids[..2]).unwrap();
    assert_eq!(changed.rows, 1);
    assert_eq!(
        left(&changed),
        [(ids[1].to_string(), Some(RowState::Leased))]
    );
    let row = admin::show(&mut conn, ids[0]).unwrap().unwrap().row;
    assert_eq!(
        (row.state, row.error.as_deref()),
        (RowState::Parked, Some("cancelled"))
    );
    assert_eq!(state(&mut conn, ids[2]), RowState::Waiting);
    let again = admin::cancel(&mut conn, [ids[0]]).unwrap();
    assert_eq!(left(&again), [(ids[0].to_string(), Some(RowState::Parked))]);
}

pub(crate) fn skipped_rows_block_no_key<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = [1, 2].map(|body| {
        let message = Message::new("/queue/a", body).key("k".to_owned());
        message.publish(&mut conn).unwrap()
    });
    park(&mut conn, &ids[..1], "refused");
    assert!(
        admin::show(&mut conn, ids[0])
            .unwrap()
            .unwrap()
            .row
            .blocks_key
    );
    let changed = admin::skip(&mut conn, ids).unwrap();
    assert_eq!(changed.rows, 1);
    assert_eq!(
        left(&changed),
        [(ids[1].to_string(), Some(RowState::Waiting))]
    );
    let row = admin::show(&mut conn, ids[0]).unwrap().unwrap().row;
    assert_eq!((row.state, row.blocks_key), (RowState::Parked, false));
}

pub(crate) fn ids_are_taken_in_any_spelling<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 4);
    let spelled = [
        ids[0].simple().to_string(),
        ids[1].to_string().to_uppercase(),
        ids[2].urn().to_string(),
        ids[3].braced().to_string(),
    ];
    assert_eq!(admin::cancel(&mut conn, &spelled).unwrap().rows, 4);
    assert_eq!(admin::skip(&mut conn, &spelled).unwrap().rows, 4);
    assert_eq!(admin::retry(&mut conn, &spelled).unwrap().rows, 4);
    for id in ["it's", "", "%", "' or 1 = 1 --"] {
        let changed = admin::cancel(&mut conn, [id]).unwrap();
        assert_eq!(left(&changed), [(id.to_owned(), None)]);
    }
    assert_eq!(admin::status(&mut conn).unwrap().waiting, 4);
}

pub(crate) fn all_parked_rows_are_retried<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 5);
    park(&mut conn, &ids[1..], "refused");
    assert_eq!(admin::retry_all(&mut conn).unwrap(), 4);
    assert_eq!(admin::retry_all(&mut conn).unwrap(), 0);
    let status = admin::status(&mut conn).unwrap();
    assert_eq!((status.waiting, status.parked), (5, 0));
}

pub(crate) fn changes_belong_to_the_callers_transaction<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let ids = write_all(&mut conn, 2);
    let undone = conn.atomically(|conn| {
        assert_eq!(admin::cancel(conn, &ids).unwrap().rows, 2);
        admin::pause_stream(conn, "mail").unwrap();
        assert_eq!(admin::status(conn).unwrap().parked, 2);
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    assert!(undone.is_err());
    let status = admin::status(&mut conn).unwrap();
    assert_eq!((status.waiting, status.parked), (2, 0));
    assert!(status.paused_streams.is_empty());
}
