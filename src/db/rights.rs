//! Whether the database user has the rights that the program needs.

use super::{Db, DbError, is_infrastructure};
use crate::backend::{Backend, Grantee, MissingRights};

impl<C: Backend> Db<C> {
    /// Fails with [`DbError::MissingRights`] if the user lacks a right that the program
    /// [needs](Self::needing).
    pub(super) async fn check_rights(&self) -> Result<(), DbError> {
        if self.needed.is_empty() {
            return Ok(());
        }
        let needed = self.needed.clone();
        let found = match self.run(move |conn| conn.find_rights(&needed)).await {
            Ok(found) => found,
            Err(DbError::Statement(error)) if !is_infrastructure(&error) => {
                // The program's own statements show whether they may run.
                tracing::debug!(error = %error, "the rights of the database user are unknown");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let tables: Vec<_> = found
            .into_iter()
            .filter(|table| !table.lacks.is_empty())
            .map(|table| (table.name, table.lacks))
            .collect();
        if tables.is_empty() {
            return Ok(());
        }
        let Grantee {
            user_name: user,
            schema_name: schema,
        } = self.run(C::grantee).await?;
        Err(MissingRights {
            user,
            schema,
            tables,
        }
        .into())
    }
}
