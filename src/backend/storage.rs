//! Writing messages and calls to their tables.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;

use super::dialect::Dialect;
use super::new_call_row::NewCallRow;
use super::new_row::NewPublished;
use super::qualify::RunQueryDsl;
use crate::schema::{outbox_calls, published};

/// Inserts rows and provides the transaction for that; not for use by hand.
#[doc(hidden)]
pub trait Storage {
    /// Fails if the server has aborted the open transaction because a statement in it failed. A COMMIT
    /// would roll it back and report success.
    fn check_transaction(&mut self) -> QueryResult<()>;

    /// Runs `work` in a transaction, or in a savepoint if one is open.
    fn atomically<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<diesel::result::Error>;

    /// Writes rows to the outbox, in several statements if there are many rows.
    fn insert_published(&mut self, rows: &[NewPublished]) -> QueryResult<()>;

    /// Writes calls, in several statements if there are many.
    fn insert_calls(&mut self, rows: &[NewCallRow]) -> QueryResult<()>;
}

/// The maximum number of rows in one INSERT, well below the limit of bound values: 32,766 on SQLite, 65,535 on
/// the others.
const ROWS_IN_ONE_INSERT: usize = 500;
/// Up to this number, rows are inserted one by one: Diesel keeps the statement for one row prepared, and
/// prepares the one for several rows each time, which costs as much as a second row.
const ROWS_ONE_BY_ONE: usize = 2;

/// Inserts rows into a table.
macro_rules! insert_rows {
    ($conn:expr, $table:ident, $rows:expr) => {{
        if $rows.len() <= ROWS_ONE_BY_ONE {
            for row in $rows {
                diesel::insert_into($table::table)
                    .values(row)
                    .execute($conn)?;
            }
            return Ok(());
        }
        for rows in $rows.chunks(ROWS_IN_ONE_INSERT) {
            diesel::insert_into($table::table)
                .values(rows)
                .execute($conn)?;
        }
        Ok(())
    }};
}

macro_rules! storage {
    ($module:ident: $connection:ty) => {
        impl Storage for $connection {
            fn check_transaction(&mut self) -> QueryResult<()> {
                let statement = Self::CHECK_TRANSACTION;
                statement.map_or(Ok(()), |statement| self.batch_execute(statement))
            }

            fn atomically<T, E>(
                &mut self,
                work: impl FnOnce(&mut Self) -> Result<T, E>,
            ) -> Result<T, E>
            where
                E: From<diesel::result::Error>,
            {
                let status = AnsiTransactionManager::transaction_manager_status_mut(self);
                if matches!(status.transaction_depth(), Ok(None)) {
                    self.in_transaction(work)
                } else {
                    self.transaction(work)
                }
            }

            fn insert_published(&mut self, rows: &[NewPublished]) -> QueryResult<()> {
                insert_rows!(self, published, rows)
            }

            fn insert_calls(&mut self, rows: &[NewCallRow]) -> QueryResult<()> {
                insert_rows!(self, outbox_calls, rows)
            }
        }
    };
}

super::databases!(storage);
