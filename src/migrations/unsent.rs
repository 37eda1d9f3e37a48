//! Finds rows that a removal of the tables would lose.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::MigrateError;
use crate::backend::Dialect;

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = BigInt)]
    leased: i64,
    #[diesel(sql_type = BigInt)]
    parked: i64,
}

/// Searches for rows that were not sent.
pub(super) trait Unsent {
    /// Fails if rows wait, are leased or are parked.
    fn refuse_unsent(&mut self) -> Result<(), MigrateError>;
}

macro_rules! unsent {
    ($module:ident: $connection:ty) => {
        impl Unsent for $connection {
            fn refuse_unsent(&mut self) -> Result<(), MigrateError> {
                let leased = format!(
                    "status = 1 and lease_token is not null and due_at > {}",
                    <Self as Dialect>::NOW
                );
                let rows: Rows = diesel::sql_query(format!(
                    "select count(case when status = 1 and not ({leased}) then 1 end) as waiting,
                         count(case when {leased} then 1 end) as leased,
                         count(case when status = -1 then 1 end) as parked
                     from (select status, lease_token, due_at from published where status <> 2
                         union all
                         select status, lease_token, due_at from outbox_calls where status <> 2) as rows_left"
                ))
                .get_result(self)?;
                let Rows {
                    waiting,
                    leased,
                    parked,
                } = rows;
                if waiting + leased + parked == 0 {
                    return Ok(());
                }
                Err(MigrateError::Unsent {
                    waiting,
                    leased,
                    parked,
                })
            }
        }
    };
}

crate::backend::databases!(unsent);
