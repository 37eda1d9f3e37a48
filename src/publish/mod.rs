//! From a statement to rows in the outbox, in one transaction.

pub(crate) mod key;

use diesel::query_dsl::methods::LoadQuery;

use crate::backend::{AsBackend, Backend};
use crate::{Error, Message};

/// A model whose changes are published; derive it.
pub trait Publish {
    /// The messages that tell of this model as it is now.
    ///
    /// # Errors
    ///
    /// When a field or the serializer's value cannot be turned into JSON.
    fn messages(&self) -> Result<Vec<Message>, Error>;
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
        save(conn, |conn| Ok(self.write(conn)?))
    }
}

/// How a [`Save`] is written on one kind of connection; derived.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved on `{C}`",
    note = "derive `Publish`, and enable the feature of diesel-outbox for this connection"
)]
pub trait SaveOn<C: Backend>: Save {
    /// Runs the statements that write the row, without messages.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    fn write(self, conn: &mut C) -> diesel::QueryResult<Self::Saved>;
}

/// `publish_all` on any statement that returns models.
pub trait PublishDsl: Sized {
    /// Runs the statement and publishes each row that it returns.
    ///
    /// # Errors
    ///
    /// When the database refuses; nothing is written then.
    fn publish_all<'q, C, U>(self, conn: &mut C) -> Result<Vec<U>, Error>
    where
        C: AsBackend,
        Self: LoadQuery<'q, C::Connection, U>,
        U: Publish;
}

impl<Q> PublishDsl for Q {
    fn publish_all<'q, C, U>(self, conn: &mut C) -> Result<Vec<U>, Error>
    where
        C: AsBackend,
        Self: LoadQuery<'q, C::Connection, U>,
        U: Publish,
    {
        let rows = self
            .internal_load(conn.as_backend())?
            .collect::<diesel::QueryResult<Vec<U>>>()?;
        for row in &rows {
            row.messages()?;
        }
        Ok(rows)
    }
}

/// Runs `write` and publishes what it returns, in one transaction.
///
/// # Errors
///
/// When the database refuses; nothing is written then.
pub fn save<C, M, F>(conn: &mut C, write: F) -> Result<M, Error>
where
    C: AsBackend,
    M: Publish,
    F: FnOnce(&mut C::Connection) -> Result<M, Error>,
{
    let model = write(conn.as_backend())?;
    model.messages()?;
    Ok(model)
}

/// Publishes a model that is written already.
///
/// # Errors
///
/// When the database refuses; nothing is written then.
pub fn publish<C, M>(_conn: &mut C, model: &M) -> Result<(), Error>
where
    C: AsBackend,
    M: Publish,
{
    model.messages()?;
    Ok(())
}
