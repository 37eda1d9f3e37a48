//! From a statement to rows in the outbox, in one transaction.

pub(crate) mod key;
mod operation;
pub(crate) mod returning;

use diesel::query_dsl::methods::LoadQuery;

use crate::Error;
use crate::backend::{AsBackend, Backend, Outbox, Storage};
use crate::message::{self, Message};

pub use operation::Operation;
use returning::Returning;

/// A model whose changes are published; derive it.
pub trait Publish {
    /// The messages that tell of this model as it is now, where it is not known what was done to
    /// its row: those that have no `on = …`.
    ///
    /// # Errors
    ///
    /// When a field or the serializer's value cannot be turned into JSON.
    fn messages(&self) -> Result<Vec<Message>, Error> {
        self.messages_of(None)
    }

    /// The messages that tell of this operation.
    ///
    /// # Errors
    ///
    /// When a field or the serializer's value cannot be turned into JSON.
    fn messages_of(&self, operation: Option<Operation>) -> Result<Vec<Message>, Error>;
}

/// What can be saved and published in one step; derived together with [`Publish`].
pub trait Save: Sized {
    /// The model that is in the table afterwards.
    type Saved: Publish;

    /// Writes the row and its messages in one transaction.
    ///
    /// # Errors
    ///
    /// When the database refuses; nothing is written then.
    fn save<C>(self, conn: &mut C) -> Result<Self::Saved, Error>
    where
        C: AsBackend,
        Self: SaveOn<C::Connection>,
    {
        conn.as_backend().atomically(|conn| {
            let (model, operation) = self.write(conn)?;
            record(conn, Some(operation), std::slice::from_ref(&model))?;
            Ok(model)
        })
    }
}

/// How a [`Save`] is written on one kind of connection; derived.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved on `{C}`",
    note = "derive `Publish`, and enable the feature of diesel-outbox for this connection"
)]
pub trait SaveOn<C: Backend>: Save {
    /// Runs the statements that write the row, without messages, and tells what they did.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    fn write(self, conn: &mut C) -> diesel::QueryResult<(Self::Saved, Operation)>;
}

/// `publish_all` on any statement that returns models: INSERT, UPDATE, upsert, DELETE, with
/// `.returning(Model::as_returning())`. Diesel has none on MySQL and MariaDB; there [`save`] and
/// [`publish`] do the same.
pub trait PublishDsl: Sized {
    /// Runs the statement and publishes each row that it returns, in one transaction: the messages
    /// that have no `on = …`, for a statement may insert and update at once.
    ///
    /// # Errors
    ///
    /// When a message is invalid or the database refuses; nothing is written then.
    fn publish_all<'q, C, U>(self, conn: &mut C) -> Result<Vec<U>, Error>
    where
        C: AsBackend,
        C::Connection: Returning,
        Self: LoadQuery<'q, C::Connection, U>,
        U: Publish,
    {
        conn.as_backend()
            .atomically(|conn| load_and_record(self, conn, None))
    }

    /// [`publish_all`](Self::publish_all) for a statement that does this to each of its rows.
    ///
    /// # Errors
    ///
    /// When a message is invalid or the database refuses; nothing is written then.
    fn publish_all_as<'q, C, U>(self, operation: Operation, conn: &mut C) -> Result<Vec<U>, Error>
    where
        C: AsBackend,
        C::Connection: Returning,
        Self: LoadQuery<'q, C::Connection, U>,
        U: Publish,
    {
        conn.as_backend()
            .atomically(|conn| load_and_record(self, conn, Some(operation)))
    }
}

fn load_and_record<'q, Q, C, U>(
    statement: Q,
    conn: &mut C,
    operation: Option<Operation>,
) -> Result<Vec<U>, Error>
where
    C: Returning,
    Q: LoadQuery<'q, C, U>,
    U: Publish,
{
    let rows = statement
        .internal_load(conn)?
        .collect::<diesel::QueryResult<Vec<U>>>()?;
    record(conn, operation, &rows)?;
    Ok(rows)
}

impl<Q> PublishDsl for Q {}

/// Runs `write` and publishes the model that it returns, in one transaction: the caller's where
/// one is open (as a savepoint), else its own. [`save_as`] says what `write` does to the row.
///
/// # Errors
///
/// What `write` returns; when a message is invalid or the database refuses. Nothing is written
/// then.
pub fn save<C, M, E, F>(conn: &mut C, write: F) -> Result<M, Error>
where
    C: AsBackend,
    M: Publish,
    E: Into<Error>,
    F: FnOnce(&mut C::Connection) -> Result<M, E>,
{
    write_and_record(conn, None, write)
}

/// [`save`], where `write` does this to the row.
///
/// # Errors
///
/// As [`save`].
pub fn save_as<C, M, E, F>(conn: &mut C, operation: Operation, write: F) -> Result<M, Error>
where
    C: AsBackend,
    M: Publish,
    E: Into<Error>,
    F: FnOnce(&mut C::Connection) -> Result<M, E>,
{
    write_and_record(conn, Some(operation), write)
}

fn write_and_record<C, M, E, F>(
    conn: &mut C,
    operation: Option<Operation>,
    write: F,
) -> Result<M, Error>
where
    C: AsBackend,
    M: Publish,
    E: Into<Error>,
    F: FnOnce(&mut C::Connection) -> Result<M, E>,
{
    conn.as_backend().atomically(|conn| {
        let model = write(conn).map_err(Into::into)?;
        record(conn, operation, std::slice::from_ref(&model))?;
        Ok(model)
    })
}

/// Publishes a model that the caller wrote: its messages that have no `on = …`. Call it in the
/// transaction that wrote the model.
///
/// # Errors
///
/// When a message is invalid or the database refuses; nothing is written then.
pub fn publish<C, M>(conn: &mut C, model: &M) -> Result<(), Error>
where
    C: AsBackend,
    M: Publish,
{
    conn.as_backend()
        .atomically(|conn| record(conn, None, std::slice::from_ref(model)))
}

/// [`publish`], where the caller did this to the row.
///
/// # Errors
///
/// As [`publish`].
pub fn publish_as<C, M>(conn: &mut C, operation: Operation, model: &M) -> Result<(), Error>
where
    C: AsBackend,
    M: Publish,
{
    conn.as_backend()
        .atomically(|conn| record(conn, Some(operation), std::slice::from_ref(model)))
}

/// Takes back a message that waits, and says whether that was still to be done: one that was sent,
/// is on its way or is parked stays as it is. The row is parked with the reason `cancelled`, and
/// `outbox retry` would send it after all.
///
/// # Errors
///
/// When the database refuses.
pub fn cancel<C: AsBackend>(conn: &mut C, id: uuid::Uuid) -> Result<bool, Error> {
    Ok(conn.as_backend().cancel(&[id])? > 0)
}

/// Writes the messages of all models, in their order.
fn record<C: Backend, M: Publish>(
    conn: &mut C,
    operation: Option<Operation>,
    models: &[M],
) -> Result<(), Error> {
    let mut messages = Vec::new();
    for model in models {
        for message in model.messages_of(operation)? {
            messages.push(message.ready()?);
        }
    }
    message::insert(conn, messages)
}
