//! The kind of a write, for messages that depend on it.

use std::fmt;

use diesel::query_dsl::methods::LoadQuery;

use crate::Error;
use crate::backend::{AsBackend, Storage};

use super::Publish;
use super::record::{load_and_record, record_alone, write_and_record};
use crate::backend::Returning;

/// The kind of a write, for messages with `on = …` and the `operation_header`.
///
/// [`Save::save`](super::Save::save) knows its operation. For statements of your own, name it: each of
/// [`save`](Self::save), [`publish`](Self::publish) and [`publish_all`](Self::publish_all) does what the
/// function of that name does, and also writes the messages of this operation.
///
/// ```
/// use diesel::prelude::*;
/// use diesel_outbox::prelude::*;
/// # use diesel_outbox::Error;
///
/// # diesel::table! { orders (id) { id -> Integer, } }
/// #[derive(Queryable, Selectable, Publish)]
/// #[diesel(table_name = orders)]
/// #[publish(destination = "/topic/orders.gone", on = delete)]
/// struct Order {
///     id: i32,
/// }
///
/// # #[cfg(feature = "sqlite")]
/// fn delete_all(conn: &mut SqliteConnection) -> Result<Vec<Order>, Error> {
///     let statement = diesel::delete(orders::table).returning(Order::as_returning());
///     Operation::Delete.publish_all(conn, statement)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The row is new.
    Insert,
    /// The row existed before.
    Update,
    /// The row was deleted.
    Delete,
}

impl Operation {
    /// Returns the value of the `operation_header`: `insert`, `update` or `delete`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Runs `write` and publishes the model that it returns as written by this operation, as
    /// [`save`](super::save()) does.
    ///
    /// # Errors
    ///
    /// As [`save`](super::save()).
    pub fn save<C, M, E, F>(self, conn: &mut C, write: F) -> Result<M, Error>
    where
        C: AsBackend,
        M: Publish,
        E: Into<Error>,
        F: FnOnce(&mut C::Connection) -> Result<M, E>,
    {
        write_and_record(conn, Some(self), write)
    }

    /// Publishes a model that the caller wrote by this operation, as [`publish`](super::publish()) does.
    ///
    /// # Errors
    ///
    /// As [`publish`](super::publish()).
    pub fn publish<C, M>(self, conn: &mut C, model: &M) -> Result<(), Error>
    where
        C: AsBackend,
        M: Publish,
    {
        record_alone(conn.as_backend(), Some(self), model)
    }

    /// Runs the statement and publishes each row that it returns as written by this operation, as
    /// [`publish_all`](super::PublishDsl::publish_all) does.
    ///
    /// # Errors
    ///
    /// As [`Save::save`](super::Save::save).
    pub fn publish_all<'q, C, Q, U>(self, conn: &mut C, statement: Q) -> Result<Vec<U>, Error>
    where
        C: AsBackend,
        C::Connection: Returning,
        Q: LoadQuery<'q, C::Connection, U>,
        U: Publish,
    {
        conn.as_backend()
            .atomically(|conn| load_and_record(statement, conn, Some(self)))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
