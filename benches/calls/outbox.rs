//! The calls of an outbox on PostgreSQL.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::admin::Rows;
use diesel_outbox::migrations::Migrate;

use crate::support::TestDatabase;

diesel::table! {
    effects (id) { id -> Integer, order_id -> BigInt, email -> Text, }
}

diesel::table! {
    outbox_calls (id) { id -> Uuid, name -> Text, args -> Jsonb, headers -> Jsonb, }
}

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
        let database = crate::support::postgres::<PgConnection>().expect("run `make bench-calls`");
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.migrate().unwrap();
        // Otherwise autovacuum could start in the middle of a round.
        conn.batch_execute(
            "create table effects (id serial primary key, order_id bigint not null, email text not null);
            alter table outbox_calls disable trigger outbox_wake;
            alter table outbox_calls set (autovacuum_enabled = false);
            alter table effects set (autovacuum_enabled = false)",
        )
        .unwrap();
        Self { database, conn }
    }

    /// Inserts calls like those of writers, with one statement.
    pub(crate) fn fill(&mut self, name: &str, calls: i64) {
        self.rows(name, calls, "null", "1, 'epoch'");
        // VACUUM cannot run in a transaction.
        self.conn
            .batch_execute("vacuum analyze outbox_calls")
            .unwrap();
    }

    /// Inserts calls with a key, a status and a due time.
    pub(crate) fn rows(&mut self, name: &str, calls: i64, key: &str, state: &str) {
        self.conn
            .batch_execute(&format!(
                "insert into outbox_calls (id, name, args, headers, key, status, due_at)
                select ({ID})::uuid, '{name}',
                    jsonb_build_object('order', n, 'email', 'ann@example.org'),
                    '{{\"dop-correlation-id\": \"00000000-0000-0000-0000-000000000000\"}}', {key}, {state}
                from generate_series(1, {calls}) n"
            ))
            .unwrap();
    }

    pub(crate) fn empty(&mut self) {
        self.conn
            .batch_execute("truncate outbox_calls; truncate effects")
            .unwrap();
    }

    pub(crate) fn waiting(&mut self) -> i64 {
        Rows::Calls.count(&mut self.conn).unwrap().waiting
    }

    pub(crate) fn effects(&mut self) -> i64 {
        effects::table.count().get_result(&mut self.conn).unwrap()
    }
}
