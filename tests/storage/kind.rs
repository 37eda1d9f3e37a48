//! The kinds of rows that the suite runs on: messages, and function calls.

use diesel_outbox::backend::{CALLS, LifecycleTable, Table};
use diesel_outbox::calls::{self, Call, NewCall};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

pub(crate) trait Kind {
    const TABLE: LifecycleTable;
    const CLEANED: Table;

    /// Writes a row and returns its id.
    fn write_after<C: Subject>(
        conn: &mut C,
        body: Value,
        key: Option<&str>,
        delay: Option<Duration>,
    ) -> Uuid;

    fn cancel<C: Subject>(conn: &mut C, id: Uuid) -> bool;

    /// Writes a row with a number as its body.
    fn write<C: Subject>(conn: &mut C, body: i64, key: Option<&str>) -> Uuid {
        Self::write_after(conn, json!(body), key, None)
    }

    /// A statement on `published` as one on this table.
    fn on(statement: &str) -> String {
        statement
            .replace("published", Self::TABLE.name)
            .replace("destination", Self::TABLE.target)
            .replace("body", Self::TABLE.body)
    }
}

pub(crate) struct Messages;

impl Kind for Messages {
    const TABLE: LifecycleTable = PUBLISHED;
    const CLEANED: Table = Table::Published;

    fn write_after<C: Subject>(
        conn: &mut C,
        body: Value,
        key: Option<&str>,
        delay: Option<Duration>,
    ) -> Uuid {
        let mut message = Message::new("/queue/a", body).key(key.map(str::to_owned));
        if let Some(delay) = delay {
            message = message.delay(delay);
        }
        message.publish(conn).unwrap()
    }

    fn cancel<C: Subject>(conn: &mut C, id: Uuid) -> bool {
        diesel_outbox::cancel(conn, id).unwrap()
    }
}

pub(crate) struct Calls;

/// A call whose arguments are any JSON.
#[derive(Serialize, Deserialize)]
struct AnyCall(Value);

impl Call for AnyCall {
    const NAME: &'static str = "/queue/a";
}

impl Kind for Calls {
    const TABLE: LifecycleTable = CALLS;
    const CLEANED: Table = Table::Calls;

    fn write_after<C: Subject>(
        conn: &mut C,
        body: Value,
        key: Option<&str>,
        delay: Option<Duration>,
    ) -> Uuid {
        let mut call = NewCall::new(AnyCall(body));
        if let Some(key) = key {
            call = call.key(key);
        }
        if let Some(delay) = delay {
            call = call.delay(delay);
        }
        call.write(conn).unwrap()
    }

    fn cancel<C: Subject>(conn: &mut C, id: Uuid) -> bool {
        calls::cancel(conn, id).unwrap()
    }
}
