//! Writes a row and its messages in one transaction.

use crate::Error;
use crate::backend::{AsBackend, Backend, Storage};

use super::record::{record, write_and_record};
use super::{Operation, Publish};

/// A struct that can be saved and published in one step. `#[derive(Publish)]` implements it.
pub trait Save: Sized {
    /// The model that is in the table after the write.
    type Saved: Publish;

    /// Writes the row and its messages in one transaction: the caller's if one is open (as a savepoint,
    /// so that the caller can continue after an error), else its own.
    ///
    /// # Errors
    ///
    /// If a message is invalid or the database fails; nothing is written then.
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

/// The statements of a [`Save`] for one kind of connection. `#[derive(Publish)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved on `{C}`",
    note = "derive `Publish`, and enable the feature of diesel-outbox for this connection"
)]
pub trait SaveOn<C: Backend>: Save {
    /// Writes the row without messages, and returns it with the operation that was needed.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn write(self, conn: &mut C) -> diesel::QueryResult<(Self::Saved, Operation)>;
}

/// Runs `write` and publishes the model that it returns, in one transaction: the caller's if one is
/// open (as a savepoint, so that the caller can continue after an error), else its own.
///
/// It writes the messages without `on = …`; [`Operation::save`] writes those of an operation too.
///
/// For thousands of rows in one transaction on PostgreSQL prefer [`publish_all`](super::PublishDsl::publish_all), which is one
/// statement for many rows, or [`publish`](super::publish()), which needs no savepoint for one message. More than
/// 64 savepoints in one transaction slow down the other sessions.
///
/// ```
/// use diesel::prelude::*;
/// use diesel_outbox::{self as outbox, Publish};
///
/// # diesel::table! { accounts (id) { id -> Integer, balance -> BigInt, } }
/// #[derive(Queryable, Selectable, Publish)]
/// #[diesel(table_name = accounts)]
/// #[publish(destination = "/topic/accounts", key = id)]
/// struct Account {
///     id: i32,
///     balance: i64,
/// }
///
/// # #[cfg(feature = "sqlite")]
/// fn deposit(conn: &mut SqliteConnection, id: i32, amount: i64) -> Result<Account, outbox::Error> {
///     outbox::save(conn, |conn| {
///         diesel::update(accounts::table.find(id))
///             .set(accounts::balance.eq(accounts::balance + amount))
///             .returning(Account::as_returning())
///             .get_result(conn)
///     })
/// }
/// ```
///
/// # Errors
///
/// The error of `write`; [`Error`] if a message is invalid or the database fails. Nothing is written
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
