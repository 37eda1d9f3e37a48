//! An inbox on PostgreSQL, and a callback's table.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::migrations::Migrate;

use crate::support::TestDatabase;

diesel::table! {
    effects (id) {
        id -> Integer,
        note -> Text,
    }
}

/// A database with the tables.
pub(crate) struct Inbox {
    pub(crate) database: TestDatabase,
    conn: PgConnection,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let database =
            crate::support::postgres::<diesel::PgConnection>().expect("run `make bench-inbox`");
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.migrate().unwrap();
        conn.batch_execute(
            "create table effects (id serial primary key, note text not null);
            alter table received set (autovacuum_enabled = false);
            alter table effects set (autovacuum_enabled = false)",
        )
        .unwrap();
        Self { database, conn }
    }

    /// An inbox with this many received rows.
    pub(crate) fn with(rows: usize) -> Self {
        let mut inbox = Self::new();
        inbox
            .conn
            .batch_execute(&format!(
                "insert into received (id, msg_id, headers, body)
                select gen_random_uuid(), gen_random_uuid()::text, '{{\"a\": \"b\"}}', '{{\"n\": 1}}'
                from generate_series(1, {rows})"
            ))
            .unwrap();
        // VACUUM cannot run in a transaction.
        inbox.conn.batch_execute("vacuum analyze received").unwrap();
        inbox
    }

    pub(crate) fn empty(&mut self) {
        self.conn
            .batch_execute("truncate received; truncate effects; checkpoint")
            .unwrap();
    }

    pub(crate) fn effects(&mut self) -> usize {
        let count: i64 = effects::table.count().get_result(&mut self.conn).unwrap();
        usize::try_from(count).unwrap()
    }
}
