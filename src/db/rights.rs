//! Whether the database user has the rights that the program needs.

use super::{Db, DbError, is_infrastructure};
use crate::backend::{Backend, FoundTable, Grantee, MissingRights, RowSecurity};

impl<C: Backend> Db<C> {
    /// Fails with [`DbError::MissingRights`] if the user lacks a right that the program
    /// [needs](Self::needing), and with [`DbError::RowSecurity`] if no policy gives it.
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
        // On some columns: those may be all that the program uses.
        let lacks = some(&found, FoundTable::lacks_wholly);
        let hidden = some(&found, |table| table.hidden.clone());
        if lacks.is_empty() && hidden.is_empty() {
            warn_of_policies(&found);
            return Ok(());
        }
        let Grantee {
            user_name: user,
            schema_name: schema,
        } = self.run(C::grantee).await?;
        Err(if lacks.is_empty() {
            let tables = hidden;
            DbError::RowSecurity(RowSecurity {
                user,
                schema,
                tables,
            })
        } else {
            let tables = lacks;
            DbError::MissingRights(MissingRights {
                user,
                schema,
                tables,
            })
        })
    }
}

/// The tables with some of these rights.
fn some(
    found: &[FoundTable],
    rights: impl Fn(&FoundTable) -> Vec<&'static str>,
) -> Vec<(String, Vec<&'static str>)> {
    let found = found
        .iter()
        .map(|table| (table.name.clone(), rights(table)));
    found.filter(|(_, rights)| !rights.is_empty()).collect()
}

/// Warns if row-level security may hide rows: a policy that shows all of them is legitimate.
fn warn_of_policies(found: &[FoundTable]) {
    let filtered = found.iter().filter(|table| table.is_filtered);
    let tables: Vec<&str> = filtered.map(|table| table.name.as_str()).collect();
    if !tables.is_empty() {
        tracing::warn!(
            ?tables,
            "row-level security applies to the database user; rows that no policy shows it are left out"
        );
    }
}
