//! Models that are published.

use crate::Error;
use crate::backend::AsBackend;
use crate::message::Message;

use super::Operation;
use super::record::record_alone;

/// A model whose changes are published. Derive it with `#[derive(Publish)]`.
pub trait Publish {
    /// Returns the model's messages for a write of an unknown kind: those without `on = …`.
    ///
    /// # Errors
    ///
    /// If a field or the serializer's value cannot be turned into JSON.
    fn messages(&self) -> Result<Vec<Message>, Error> {
        self.messages_of(None)
    }

    /// Returns the model's messages for an operation; `None` stands for a write of an unknown kind.
    ///
    /// # Errors
    ///
    /// If a field or the serializer's value cannot be turned into JSON.
    fn messages_of(&self, operation: Option<Operation>) -> Result<Vec<Message>, Error>;
}

/// Publishes a model that the caller wrote. Call it in the transaction that wrote the model.
///
/// It writes the messages without `on = …`; [`Operation::publish`] writes those of an operation too.
///
/// # Errors
///
/// If a message is invalid or the database fails; nothing is written then.
pub fn publish<C, M>(conn: &mut C, model: &M) -> Result<(), Error>
where
    C: AsBackend,
    M: Publish,
{
    record_alone(conn.as_backend(), None, model)
}
