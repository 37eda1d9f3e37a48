//! Rows that a removal of the tables would lose.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::MigrateError;

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = BigInt)]
    leased: i64,
    #[diesel(sql_type = BigInt)]
    parked: i64,
}

/// Looks for rows that were not sent.
pub(super) trait Unsent {
    /// Fails if rows wait, are leased or are parked.
    fn refuse_unsent(&mut self) -> Result<(), MigrateError>;
}

macro_rules! unsent {
    ($feature:literal, $connection:ty, $now:literal) => {
        #[cfg(feature = $feature)]
        impl Unsent for $connection {
            fn refuse_unsent(&mut self) -> Result<(), MigrateError> {
                const LEASED: &str = concat!("status = 1 and lease_token is not null and due_at > ", $now);
                let rows: Rows = diesel::sql_query(format!(
                    "select count(case when status = 1 and not ({LEASED}) then 1 end) as waiting,
                         count(case when {LEASED} then 1 end) as leased,
                         count(case when status = -1 then 1 end) as parked
                     from published where status <> 2"
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

unsent!("postgres", diesel::PgConnection, "clock_timestamp()");
unsent!("mysql", diesel::MysqlConnection, "utc_timestamp(6)");
unsent!(
    "sqlite",
    diesel::SqliteConnection,
    "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
);
