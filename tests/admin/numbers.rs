//! Status, streams and clean-up.

use std::error::Error;
use std::time::Duration;

use diesel_outbox::admin::{self, AdminError, Status, Stream};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn the_status_counts_rows_and_names_paused_streams<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    assert_eq!(admin::status(&mut conn).unwrap(), Status::default());
    let ids = write_all(&mut conn, 6);
    park(&mut conn, &ids[..2], "refused");
    execute(
        &mut conn,
        &format!(
            "update published set status = 2 where id = '{}';
             update published set due_at = '8000-01-01 00:00:00.000000' where id = '{}';
             insert into received (id, msg_id)
                 values ('00000000-0000-0000-0000-000000000001', 'one')",
            ids[2], ids[3]
        ),
    );
    for stream in ["reports", "mail"] {
        admin::pause_stream(&mut conn, stream).unwrap();
    }
    let status = admin::status(&mut conn).unwrap();
    assert_eq!((status.waiting, status.not_due), (3, 1));
    assert_eq!(status.parked, 2);
    let totals = admin::totals(&mut conn).unwrap();
    assert_eq!((totals.sent, totals.received, totals.executed), (1, 1, 0));
    assert_eq!(status.paused_streams, ["mail", "reports"]);
    let oldest = admin::show(&mut conn, ids[3]).unwrap().unwrap().row;
    assert_eq!(status.oldest_waiting, Some(oldest.added));
}

pub(crate) fn missing_tables_are_an_error_of_their_own<C: Subject>(url: &str) {
    let mut conn = C::establish(url).unwrap();
    let error = admin::status(&mut conn).unwrap_err();
    assert!(matches!(error, AdminError::Tables(_)), "{error:?}");
    assert!(error.to_string().contains("outbox migrate"), "{error}");
    assert!(error.source().is_some());
    let error = admin::retry(&mut conn, [Uuid::nil()]).unwrap_err();
    assert!(matches!(error, AdminError::Tables(_)), "{error:?}");
}

pub(crate) fn streams_are_paused_and_resumed<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    Message::new("/queue/a", 1)
        .stream("it's 100%")
        .publish(&mut conn)
        .unwrap();
    let names = |conn: &mut C| -> Vec<(String, bool)> {
        let streams = admin::streams(conn).unwrap().into_iter();
        streams
            .map(
                |Stream {
                     name, is_paused, ..
                 }| (name, is_paused),
            )
            .collect()
    };
    assert_eq!(names(&mut conn), [("it's 100%".to_owned(), false)]);
    admin::pause_stream(&mut conn, "it's 100%").unwrap();
    admin::pause_stream(&mut conn, "it's 100%").unwrap();
    assert_eq!(names(&mut conn), [("it's 100%".to_owned(), true)]);
    assert_eq!(claimed(&mut conn), 0, "it is paused");
    admin::resume_stream(&mut conn, "it's 100%").unwrap();
    admin::resume_stream(&mut conn, "another").unwrap();
    assert_eq!(
        names(&mut conn),
        [
            ("another".to_owned(), false),
            ("it's 100%".to_owned(), false)
        ]
    );
    assert_eq!(claimed(&mut conn), 1);
}

/// How many rows a relay gets.
fn claimed<C: Subject>(conn: &mut C) -> usize {
    let table = diesel_outbox::backend::PUBLISHED;
    conn.claim(table, Uuid::new_v4(), DAY, 10).unwrap().len()
}

pub(crate) fn an_invalid_name_of_a_stream_changes_nothing<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for name in ["", "a\0b", &"é".repeat(101)] {
        let paused = admin::pause_stream(&mut conn, name);
        assert!(matches!(paused, Err(AdminError::StreamName)), "{paused:?}");
        let resumed = admin::resume_stream(&mut conn, name);
        assert!(matches!(resumed, Err(AdminError::StreamName)));
    }
    assert_eq!(admin::streams(&mut conn).unwrap(), []);
    admin::pause_stream(&mut conn, &"é".repeat(100)).unwrap();
}

pub(crate) fn old_rows_are_deleted_in_batches<C: Subject>(url: &str) {
    const ROWS: i64 = 2_300;
    let mut conn = connect::<C>(url);
    conn.atomically(|conn| {
        write_all(conn, ROWS + 3);
        Ok::<_, diesel::result::Error>(())
    })
    .unwrap();
    execute(
        &mut conn,
        &format!(
            "update published set added = '2001-01-01 00:00:00.000000';
             update published set status = 2 where seq <= {ROWS};
             update published set status = -1 where seq = {};
             insert into received (id, msg_id, added)
                 values ('00000000-0000-0000-0000-000000000001', 'old', '2001-01-01 00:00:00.000000');
             insert into received (id, msg_id)
                 values ('00000000-0000-0000-0000-000000000002', 'new');
             insert into outbox_deliveries (msg_id, begun, last_begun)
                 values ('old', 1, '2001-01-01 00:00:00.000000'), ('new', 1, '8000-01-01 00:00:00.000000')",
            ROWS + 1
        ),
    );
    assert_eq!(
        admin::clean_outbox(&mut conn, Duration::MAX).unwrap(),
        0,
        "no row is that old"
    );
    assert_eq!(admin::clean_outbox(&mut conn, DAY).unwrap(), 2_300);
    assert_eq!(admin::clean_inbox(&mut conn, DAY).unwrap(), 1);
    let status = admin::status(&mut conn).unwrap();
    assert_eq!((status.waiting, status.parked), (2, 1));
    let totals = admin::totals(&mut conn).unwrap();
    assert_eq!((totals.sent, totals.received), (0, 1));
    assert_eq!(admin::clean_inbox(&mut conn, DAY).unwrap(), 0);
}
