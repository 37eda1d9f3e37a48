//! Turns models into rows of the outbox.

use diesel::query_dsl::methods::LoadQuery;

use crate::Error;
use crate::backend::{AsBackend, Backend, Storage};
use crate::message::Message;
use crate::pending_row::insert;

use super::{Operation, Publish};
use crate::backend::Returning;

/// Writes the model by `write`, and its messages, in one transaction.
pub(super) fn write_and_record<C, M, E, F>(
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
        if record(conn, operation, std::slice::from_ref(&model))? == 0 {
            // Writing a message would have failed in an aborted transaction.
            conn.check_transaction()?;
        }
        Ok(model)
    })
}

/// Runs the statement and writes the messages of the rows that it returns, in the open transaction.
pub(super) fn load_and_record<'q, Q, C, U>(
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

/// Writes the messages of all models, in their order, in the open transaction. Returns their number.
pub(super) fn record<C: Backend, M: Publish>(
    conn: &mut C,
    operation: Option<Operation>,
    models: &[M],
) -> Result<usize, Error> {
    let mut messages = Vec::new();
    for model in models {
        for message in model.messages_of(operation)? {
            messages.push(message.ready()?);
        }
    }
    let count = messages.len();
    insert(conn, messages)?;
    Ok(count)
}

/// Writes the messages of a model, all of them or none. A single message is one statement, without a savepoint.
pub(super) fn record_alone<C: Backend, M: Publish>(
    conn: &mut C,
    operation: Option<Operation>,
    model: &M,
) -> Result<(), Error> {
    let messages = model.messages_of(operation)?.into_iter();
    let messages: Result<Vec<_>, _> = messages.map(Message::ready).collect();
    let messages = messages?;
    if messages.len() > 1 {
        conn.atomically(|conn| insert(conn, messages))
    } else {
        insert(conn, messages)
    }
}
