//! Calls with `persist = "failures"`, which have a row only if they fail.

use diesel::result::Error as DieselError;
use diesel_outbox::Permanent;
use diesel_outbox::calls::Call;

use crate::immediate::handle;
use crate::place::{Block, OnFailure, Place, Stage, Subject, Within, failure};

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

/// PostgreSQL aborts a transaction in which a statement has failed, and its COMMIT is a rollback that reports no error.
pub(crate) fn nothing_runs_after_an_aborted_transaction<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    let aborted = handle.transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
        OnFailure { n: 1 }.write(conn)?;
        let swallowed = conn.run("select * from a_table_that_is_missing");
        assert!(swallowed.is_err());
        Ok(())
    });
    if C::NAME == "PostgreSQL" {
        assert!(aborted.is_err());
        assert!(stage.started().is_empty());
    } else {
        // There a failed statement does not abort its transaction.
        aborted.unwrap();
        assert_eq!(stage.started(), [1]);
    }
    assert!(place.statuses().is_empty());
    // The connection can be used.
    handle
        .transaction(&mut conn, |conn| OnFailure { n: 2 }.write(conn))
        .unwrap();
    assert_eq!(stage.started().last(), Some(&2));
}

pub(crate) fn nothing_runs_after_a_refused_commit<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let handle = handle(place, &stage);
    let mut conn = place.connect();
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma foreign_keys = on").unwrap();
    }
    // MySQL and MariaDB check at once, the others at the COMMIT.
    let is_deferred = C::NAME != "MySQL/MariaDB";
    let deferred = if is_deferred {
        " deferrable initially deferred"
    } else {
        ""
    };
    for table in [
        "orders (id bigint primary key)".to_owned(),
        format!(
            "items (of_order bigint not null, foreign key (of_order) references orders (id){deferred})"
        ),
    ] {
        conn.run(&format!("create table {table}")).unwrap();
    }
    let mut is_at_the_end = false;
    let refused = handle.transaction::<_, (), diesel_outbox::Error>(&mut conn, |conn| {
        Block { n: 1 }.write(conn)?;
        Within { n: 2 }.write(conn)?;
        OnFailure { n: 3 }.write(conn)?;
        conn.run("insert into items (of_order) values (7)")?;
        is_at_the_end = true;
        Ok(())
    });
    let error = match refused {
        Err(diesel_outbox::Error::Database(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error, DieselError::DatabaseError(..)), "{error:?}");
    assert_eq!(is_at_the_end, is_deferred);
    assert!(stage.started().is_empty());
    assert!(place.statuses().is_empty());
    assert_eq!(place.effects(), 0);
    handle
        .transaction(&mut conn, |conn| OnFailure { n: 4 }.write(conn))
        .unwrap();
    assert_eq!(stage.started(), [4]);
}
