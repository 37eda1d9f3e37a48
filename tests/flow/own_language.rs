//! Errors of the test's own PostgreSQL in German while a callback works.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::own_postgres::Cluster;
use crate::own_postgres::place;
use crate::{blame, database};

/// Locks and limits, with the server's German texts.
#[test]
fn what_the_server_says_in_german_is_understood() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    cluster
        .admin()
        .batch_execute("grant set on parameter deadlock_timeout to app")
        .unwrap();
    blame::a_deadlock_is_nobodys_fault_in_any_language::<PgConnection>(&place);
    blame::what_a_statement_meets_is_nobodys_fault::<PgConnection>(&place);
}

#[test]
fn a_serialization_failure_is_nobodys_fault() {
    let cluster = Cluster::start("default_transaction_isolation = 'repeatable read'");
    let place = place(cluster.database());
    let mut other = place.connect::<PgConnection>();
    other
        .batch_execute(
            "create table stock (id int primary key, n int); insert into stock values (1, 1)",
        )
        .unwrap();
    let other = std::sync::Mutex::new(other);
    blame::endures::<PgConnection>(&place, move |conn| {
        conn.batch_execute("select * from stock")?;
        let mut other = other.lock().unwrap();
        other.batch_execute("update stock set n = n + 1")?;
        let error = conn
            .batch_execute("update stock set n = n - 1")
            .unwrap_err();
        assert!(error.to_string().contains("serialisieren"), "{error}");
        Err(error.into())
    });
}

/// Too many locks: the server's shared memory is exhausted.
#[test]
fn a_full_lock_table_is_nobodys_fault() {
    let cluster = Cluster::start("max_connections = 20\nmax_locks_per_transaction = 10");
    let place = place(cluster.database());
    blame::endures::<PgConnection>(&place, |conn| {
        let locks = "select pg_advisory_xact_lock(n) from generate_series(1, 100000) n";
        let error = conn.batch_execute(locks).unwrap_err();
        assert_eq!(error.to_string(), "Shared Memory aufgebraucht");
        Err(error.into())
    });
}

/// A limit of each session is the statement's own fault.
#[test]
fn a_statement_beyond_a_limit_is_the_messages_own() {
    let cluster = Cluster::start("temp_file_limit = '64kB'");
    let place = place(cluster.database());
    blame::spoiled::<PgConnection>(&place, 1, &["sorts too much"], |conn, _| {
        let sort = "select n from generate_series(1, 1000000) n order by -n limit 1 offset 999999";
        let error = conn.batch_execute(sort).unwrap_err();
        assert!(error.to_string().contains("temp_file_limit"), "{error}");
        Err(error.into())
    });
}

/// The suite's cases of a database that becomes read-only, in German.
#[test]
fn a_former_primary_is_left_in_german() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    database::a_former_primary_is_left::<PgConnection>(&place);
}
