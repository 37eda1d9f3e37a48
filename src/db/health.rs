//! Checks on another connection whether the database takes writes.

use std::fmt;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Db, DbConnection, DbError, Fault, fault};
use crate::backend::{Backend, NewReceived};

/// Random bytes in the test row: more than fit into the pages that exist.
const BYTES: usize = 64 * 1024;

/// The result of the check.
#[derive(Debug)]
pub(crate) enum Health {
    /// The database took the write.
    Healthy,
    /// The database works, but other transactions were in the way.
    Busy,
    /// The database did not take the write.
    Unreachable(DbError),
}

/// A second connection, opened beside the one on which a message is handled: while it lives and
/// can write, the database is reachable.
pub(crate) struct SecondConnection<C: Backend>(DbConnection<C>);

impl<C: Backend> fmt::Debug for SecondConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecondConnection").field(&C::NAME).finish()
    }
}

impl<C: Backend> SecondConnection<C> {
    /// Tries to write a row to the inbox, and rolls it back.
    pub(crate) fn check_write(&mut self, db: &Db<C>) -> Health {
        match db.within(&mut self.0, try_to_write) {
            Ok(()) => Health::Healthy,
            Err(error) if fault(&error, None) == Fault::Contention => Health::Busy,
            Err(error) => Health::Unreachable(error.into()),
        }
    }
}

fn try_to_write<C: Backend>(conn: &mut C) -> diesel::QueryResult<()> {
    let body: String = std::iter::repeat_with(|| Uuid::new_v4().simple().to_string())
        .take(BYTES / 32)
        .collect();
    let id = format!("outbox-probe-{}", Uuid::new_v4());
    let row = NewReceived::new(id, String::new(), json!({}), Some(Value::String(body)), 0);
    let row = row.fitted(conn);
    let open = conn.begin_inbox()?;
    let written = conn.insert_received(&row);
    conn.roll_back_inbox(open);
    written
}

impl<C: Backend> Db<C> {
    /// Opens a separate connection for a message, and one beside it. On them the wait of our statements for a
    /// lock is limited; see [`lift_limit`](Self::lift_limit).
    pub(crate) fn pair(&self) -> Result<(DbConnection<C>, SecondConnection<C>), DbError> {
        let limits = self.manager.limits();
        Ok((
            self.manager.open_with(&limits.locks)?,
            self.second_connection()?,
        ))
    }

    /// Lets a callback wait for locks as long as the database's settings allow. On PostgreSQL the rollback of
    /// the transaction restores the limit.
    pub(crate) fn lift_limit(&self, conn: &mut C) -> diesel::QueryResult<()> {
        match self.manager.limits().lift {
            "" => Ok(()),
            lift => conn.batch_execute(lift),
        }
    }

    pub(crate) fn second_connection(&self) -> Result<SecondConnection<C>, DbError> {
        let limits = self.manager.limits();
        Ok(SecondConnection(self.manager.open_with(&limits.all)?))
    }

    /// As [`health`](Self::health), [`on_thread`](Self::on_thread); a database that does not answer is unreachable.
    pub(crate) async fn ask(&self) -> Health {
        let db = self.clone();
        let asked = self.on_thread(move || db.health()).await;
        asked.unwrap_or_else(Health::Unreachable)
    }

    /// Whether the database takes writes on a new connection.
    pub(crate) fn health(&self) -> Health {
        match self.second_connection() {
            Ok(mut second) => second.check_write(self),
            Err(error) => Health::Unreachable(error),
        }
    }
}
