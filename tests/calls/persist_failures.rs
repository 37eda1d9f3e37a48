//! Calls with `persist = "failures"`, which have a row only if they fail.

use diesel_outbox::Permanent;
use diesel_outbox::calls::Call;

use crate::immediate::handle;
use crate::place::{Block, OnFailure, Place, Stage, Subject, failure};

pub(crate) fn only_failures_get_a_row<C: Subject>(place: &Place<C>) {
    let stage = Stage::new(|n, before| match (n, before) {
        (2, 0) => failure("not yet"),
        (3, _) => Err(Permanent::new("never").into()),
        _ => Ok(()),
    });
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            OnFailure { n: 1 }.write(conn)?;
            OnFailure { n: 2 }.write(conn)?;
            Block { n: 10 }.write(conn)?;
            diesel_outbox::calls::write_all(conn, [3, 4].map(|n| OnFailure { n }))?;
            assert_eq!(conn.rows().len(), 1);
            // What a row is needed for has one.
            OnFailure { n: 5 }.key("k").write(conn)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(stage.started(), [1, 2, 10, 3, 4, 5]);
    let rows = conn.rows();
    let states: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.name.as_str(),
                row.status,
                row.retry,
                row.last_error.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("test.block", 2, 0, None),
            ("test.on_failure", 2, 0, None),
            ("test.on_failure", 1, 1, Some("not yet")),
            ("test.on_failure", -1, 1, Some("never")),
        ]
    );
    // Elsewhere it has a row from the start.
    OnFailure { n: 6 }.write(&mut conn).unwrap();
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2, 2, -1, 2]);
    running.stop();
}
