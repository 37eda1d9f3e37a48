//! A database that the suite runs on, and the rows in it.

use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use uuid::Uuid;

use crate::support::TestDatabase;

/// Long after any test.
pub(crate) const LATER: &str = "'8000-01-01 00:00:00.000000'";

/// A connection that the suite runs on.
pub(crate) trait Subject: Backend + Migrate {
    /// The number that a query selects as `n`.
    fn number(&mut self, query: &str) -> i64;
}

macro_rules! subject {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn number(&mut self, query: &str) -> i64 {
                use diesel::RunQueryDsl;

                #[derive(diesel::QueryableByName)]
                struct Number {
                    #[diesel(sql_type = diesel::sql_types::BigInt)]
                    n: i64,
                }
                diesel::sql_query(query)
                    .get_result::<Number>(self)
                    .unwrap()
                    .n
            }
        }
    };
}

subject!("sqlite", diesel::SqliteConnection);
subject!("mysql", diesel::MysqlConnection);
subject!("postgres", diesel::PgConnection);

/// A connection to a database that has the tables.
pub(crate) fn connect<C: Subject>(database: &TestDatabase) -> C {
    let mut conn = C::establish(&database.url).unwrap();
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma busy_timeout = 20000; pragma synchronous = off")
            .unwrap();
    }
    conn.migrate().unwrap();
    conn
}

/// The id of the row with this number.
pub(crate) fn id(number: u64) -> String {
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + number, &[7; 10])
        .into_uuid()
        .to_string()
}

/// A new id.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// A text as a literal of SQL.
pub(crate) fn literal<C: Subject>(text: &str) -> String {
    let text = text.replace('\'', "''");
    match C::NAME {
        "MySQL/MariaDB" => format!("'{}'", text.replace('\\', "\\\\")),
        _ => format!("'{text}'"),
    }
}

/// The column `key`.
pub(crate) fn key_column<C: Subject>() -> &'static str {
    match C::NAME {
        "MySQL/MariaDB" => "`key`",
        _ => "key",
    }
}

/// A row of `published` or `outbox_calls`. Values are literals of SQL.
#[derive(Clone, Copy)]
pub(crate) struct NewRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) destination: &'a str,
    pub(crate) body: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) key: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) status: i32,
    pub(crate) attempts: u32,
    pub(crate) error: &'a str,
    pub(crate) due_at: &'a str,
}

/// A row that waits.
pub(crate) const ROW: NewRow<'static> = NewRow {
    id: "",
    destination: "'/queue/a'",
    body: "'{}'",
    headers: "'{}'",
    key: "null",
    stream: "null",
    status: 1,
    attempts: 0,
    error: "null",
    due_at: "'1970-01-01 00:00:00.000000'",
};

/// A parked row that blocks its key.
pub(crate) const PARKED: NewRow<'static> = NewRow {
    status: -1,
    attempts: 50,
    error: "'refused'",
    due_at: LATER,
    ..ROW
};

/// A row that was sent.
pub(crate) const SENT: NewRow<'static> = NewRow { status: 2, ..ROW };

/// Writes messages, all with one statement.
pub(crate) fn write<C: Subject>(conn: &mut C, rows: &[NewRow<'_>]) {
    insert(conn, "published (id, destination, body", rows);
}

/// Writes calls, all with one statement.
pub(crate) fn write_calls<C: Subject>(conn: &mut C, rows: &[NewRow<'_>]) {
    insert(conn, "outbox_calls (id, name, args", rows);
}

fn insert<C: Subject>(conn: &mut C, table: &str, rows: &[NewRow<'_>]) {
    let values: Vec<String> = rows
        .iter()
        .map(|row| {
            let id = if row.id.starts_with('\'') {
                row.id.to_owned()
            } else {
                format!("'{}'", row.id)
            };
            format!(
                "({id}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
                row.destination,
                row.body,
                row.headers,
                row.key,
                row.stream,
                row.status,
                row.attempts,
                row.error,
                row.due_at
            )
        })
        .collect();
    conn.batch_execute(&format!(
        "insert into {table}, headers, {}, stream, status, retry, last_error, due_at) values {}",
        key_column::<C>(),
        values.join(", ")
    ))
    .unwrap();
}

/// The status of a message.
pub(crate) fn status<C: Subject>(conn: &mut C, id: &str) -> i64 {
    conn.number(&format!(
        "select cast(status as {}) as n from published where id = '{id}'",
        integer::<C>()
    ))
}

/// The number of messages that a condition selects.
pub(crate) fn count<C: Subject>(conn: &mut C, condition: &str) -> i64 {
    conn.number(&format!(
        "select count(*) as n from published where {condition}"
    ))
}

fn integer<C: Subject>() -> &'static str {
    match C::NAME {
        "MySQL/MariaDB" => "signed",
        _ => "bigint",
    }
}
