//! An outbox on PostgreSQL and its rows.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::backend::{Lifecycle, PUBLISHED};
use diesel_outbox::migrations::Migrate;

use crate::support::TestDatabase;

/// About 200 bytes.
pub(crate) const BODY: &str = r#"{"id": 1234567, "customer": "ann", "email": "ann@example.org", "address": "12 Long Lane, Old Town", "total": 1250, "currency": "EUR", "items": [1, 2, 3, 4, 5], "note": "leave at the door, please!"}"#;

/// Ordered by time, like a UUIDv7, so that inserts stay in one part of the primary key's index.
const ID: &str = "\
lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15)";

/// A database with the tables.
pub(crate) struct Outbox {
    pub(crate) database: TestDatabase,
    pub(crate) conn: PgConnection,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        let database =
            crate::support::postgres::<diesel::PgConnection>().expect("run `make bench-relay`");
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.migrate().unwrap();
        // Otherwise autovacuum could start in the middle of a round.
        conn.batch_execute(
            "alter table published disable trigger outbox_wake;
            alter table published set (autovacuum_enabled = false)",
        )
        .unwrap();
        Self { database, conn }
    }

    /// Inserts rows like those of writers, with one statement; `key` is an SQL expression of `n`.
    pub(crate) fn fill(&mut self, destination: &str, rows: i64, key: &str) {
        self.rows(destination, rows, key, "1, 'epoch'");
        self.conn.batch_execute("vacuum analyze published").unwrap();
    }

    /// Inserts rows with a status and a due time.
    pub(crate) fn rows(&mut self, destination: &str, rows: i64, key: &str, state: &str) {
        self.conn
            .batch_execute(&format!(
                "insert into published (id, destination, body, headers, key, status, due_at)
                select id, '{destination}', '{BODY}', jsonb_build_object(
                    'dop-msg-id', id, 'dop-msg-destination', '{destination}',
                    'dop-msg-type', 'Published', 'dop-msg-sent-time', '2026-01-01T00:00:00Z',
                    'dop-correlation-id', '00000000-0000-0000-0000-000000000000'), key, {state}
                from (select ({ID})::uuid as id, {key} as key
                    from generate_series(0, {rows} - 1) n) of_rows"
            ))
            .unwrap();
    }

    pub(crate) fn empty(&mut self) {
        self.conn.batch_execute("truncate published").unwrap();
    }

    pub(crate) fn waiting(&mut self) -> i64 {
        self.conn.waiting(PUBLISHED).unwrap().0
    }
}
