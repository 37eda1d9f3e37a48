//! Statements that return models.

use diesel::query_dsl::methods::LoadQuery;

use crate::Error;
use crate::backend::{AsBackend, Storage};

use super::Publish;
use super::record::load_and_record;
use crate::backend::Returning;

/// Adds `publish_all` to statements that return models: INSERT, UPDATE, upsert and DELETE with
/// `.returning(Model::as_returning())`.
///
/// Diesel has no RETURNING on MySQL and MariaDB; use [`save`](super::save()) or [`publish`](super::publish()) there.
pub trait PublishDsl: Sized {
    /// Runs the statement and publishes each row that it returns, in one transaction.
    ///
    /// It writes the messages without `on = …`, because one statement may both insert and update.
    /// [`Operation::publish_all`](super::Operation::publish_all) writes those of an operation too.
    ///
    /// # Errors
    ///
    /// As [`Save::save`](super::Save::save).
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
}

impl<Q> PublishDsl for Q {}
