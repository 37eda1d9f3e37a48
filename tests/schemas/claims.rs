//! Locks: of one outbox alone, and shared with versions that know no schema.

use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel_outbox::backend::{Lifecycle, PUBLISHED};
use diesel_outbox::{Message, cancel, in_schema};
use uuid::Uuid;

use crate::place::Place;

const MINUTE: Duration = Duration::from_secs(60);
/// The lock of versions that know no schema.
const OLD_LOCK: &str = "122550254464888";

/// A claim that does not wait for a lock.
fn claim(conn: &mut PgConnection, schema: &str) -> QueryResult<Vec<Uuid>> {
    conn.batch_execute("set lock_timeout = '300ms'").unwrap();
    let rows = in_schema(schema, || conn.claim(PUBLISHED, Uuid::new_v4(), MINUTE, 10))?;
    Ok(rows.iter().map(|row| row.id).collect())
}

fn begin(conn: &mut PgConnection) {
    AnsiTransactionManager::begin_transaction(conn).unwrap();
}

fn roll_back(conn: &mut PgConnection) {
    AnsiTransactionManager::rollback_transaction(conn).unwrap();
}

#[test]
fn a_lock_that_is_held_in_one_schema_stops_no_other() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    let mut conn = place.connect("nowhere");
    let write = |conn: &mut PgConnection, schema| {
        in_schema(schema, || {
            Message::new("/queue/a", 1).publish(conn).unwrap()
        })
    };
    let (in_a, in_b) = (write(&mut conn, "a"), write(&mut conn, "b"));
    let mut claiming = place.connect("nowhere");
    conn.transaction::<(), diesel_outbox::Error, _>(|conn| {
        assert!(in_schema("a", || cancel(conn, in_a))?);
        assert!(!in_schema("b", || cancel(conn, in_a))?, "another outbox's");
        Ok(())
    })
    .unwrap();
    assert!(claim(&mut claiming, "a").unwrap().is_empty());
    let in_a = write(&mut conn, "a");
    let mut holding = place.connect("nowhere");
    // A claim in `a` that does not come to its end.
    begin(&mut holding);
    assert_eq!(claim(&mut holding, "a").unwrap(), [in_a]);
    assert_eq!(claim(&mut claiming, "b").unwrap(), [in_b]);
    roll_back(&mut holding);
    assert_eq!(claim(&mut claiming, "a").unwrap(), [in_a]);
}

#[test]
fn an_older_version_and_this_one_do_not_claim_at_the_same_moment() {
    let Some(place) = Place::with_outboxes(&["a", "public"]) else {
        return;
    };
    let (mut old, mut new) = (place.connect("public"), place.connect("nowhere"));
    for schema in ["a", "public"] {
        old.batch_execute(&format!("begin; select pg_advisory_xact_lock({OLD_LOCK})"))
            .unwrap();
        let error = claim(&mut new, schema).unwrap_err();
        assert!(error.to_string().contains("lock timeout"), "{error}");
        old.batch_execute("rollback").unwrap();
        claim(&mut new, schema).unwrap();

        begin(&mut new);
        claim(&mut new, schema).unwrap();
        let locked = old.batch_execute(&format!(
            "set lock_timeout = '300ms'; select pg_advisory_lock({OLD_LOCK})"
        ));
        assert!(locked.is_err());
        roll_back(&mut new);
    }
}

#[test]
fn without_a_name_the_lock_is_that_of_the_tables_schema() {
    let Some(place) = Place::with_outboxes(&["a", "b"]) else {
        return;
    };
    let mut named = place.connect("nowhere");
    begin(&mut named);
    claim(&mut named, "b").unwrap();
    let unnamed = |path| {
        let mut conn = place.connect(path);
        conn.batch_execute("set lock_timeout = '300ms'").unwrap();
        conn.claim(PUBLISHED, Uuid::new_v4(), MINUTE, 10)
    };
    let error = unnamed("b,a").unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    assert!(unnamed("a,b").unwrap().is_empty());
}
