//! A defect of Diesel 2.3 with MySQL's client library.
//!
//! Diesel looks for an error after it has bound the values of a prepared statement. MySQL's client library keeps the
//! error of the last execution until the next one (`mysql_stmt_bind_param` does not clear it), so that a cached
//! statement that has failed once fails at each later use, with that error, and is not sent. A second message would be
//! taken for a duplicate of the first one. MariaDB's library clears the error.

use std::sync::OnceLock;

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::BigInt;

/// Whether the linked library keeps errors, once that is known.
static KEEPS_ERRORS: OnceLock<bool> = OnceLock::new();

/// A statement that is cached, and fails unless its value is 1 (error 1242: a subquery returns more than one row).
/// It returns no rows: Diesel clears an error that comes with the rows.
#[derive(Debug, QueryId)]
struct Probe(i64);

impl QueryFragment<Mysql> for Probe {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql("set @outbox_probe = (select 1 union select ");
        out.push_bind_param::<BigInt, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

impl diesel::RunQueryDsl<MysqlConnection> for Probe {}

/// Turns off the connection's cache of prepared statements if the linked library keeps errors. A connection of a
/// service may have its cache turned off, which cannot be queried: if the library is not known yet, it is off afterwards.
pub(super) fn avoid_kept_errors(conn: &mut MysqlConnection, is_ours: bool) -> QueryResult<()> {
    let keeps_errors = match KEEPS_ERRORS.get() {
        Some(known) => *known,
        None => match keeps_errors(conn)? {
            Some(found) => *KEEPS_ERRORS.get_or_init(|| found) || !is_ours,
            // The next connection shows it.
            None => true,
        },
    };
    if keeps_errors {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    Ok(())
}

/// Returns `None` if the first execution did not fail as it should, so that the second one shows nothing.
fn keeps_errors(conn: &mut MysqlConnection) -> QueryResult<Option<bool>> {
    conn.set_prepared_statement_cache_size(CacheSize::Unbounded);
    let failed = diesel::RunQueryDsl::execute(Probe(2), conn);
    let again = diesel::RunQueryDsl::execute(Probe(1), conn);
    // Not an error of the connection.
    conn.batch_execute("do 0")?;
    Ok(match (failed, again) {
        (Ok(_), _) => None,
        (Err(_), Ok(_)) => Some(false),
        (Err(first), Err(second)) => (first.to_string() == second.to_string()).then_some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It fails once a version of Diesel or of a client library is different.
    #[test]
    fn mysqls_library_keeps_errors() {
        use outbox_test_support as support;
        let Some(database) = support::mysql::<MysqlConnection>() else {
            return;
        };
        let mut conn = MysqlConnection::establish(&database.url).unwrap();
        let found = keeps_errors(&mut conn).unwrap();
        assert_eq!(found, Some(support::has_mysqls_client_library()));
        avoid_kept_errors(&mut conn, true).unwrap();
        for value in [2, 1, 2, 1] {
            let ran = diesel::RunQueryDsl::execute(Probe(value), &mut conn);
            assert_eq!(ran.is_ok(), value == 1, "{ran:?}");
        }
    }
}
