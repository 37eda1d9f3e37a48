//! The database user's rights on MySQL and MariaDB.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::backend::dialect::Dialect;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::rights::{FoundTable, Grantee, Needed};
use crate::backend::schemas::Tables;

/// A statement that needs this right on a table and is only explained. EXPLAIN needs the rights of the statement:
/// <https://dev.mysql.com/doc/refman/8.4/en/explain.html>.
fn explained(right: &str, table: &str) -> String {
    let column = match table {
        "outbox_jobs" | "outbox_streams" => "name",
        "outbox_deliveries" => "msg_id",
        _ => "id",
    };
    let statement = match right {
        "select" => format!("select {column} from {table}"),
        "insert" => format!("insert into {table} ({column}) values ('')"),
        "update" => format!("update {table} set {column} = ''"),
        _ => format!("delete from {table}"),
    };
    format!("explain {statement}")
}

/// A table on which the user has no right at all counts as one that exists.
pub(super) fn find(conn: &mut MysqlConnection, needed: &[Needed]) -> QueryResult<Vec<FoundTable>> {
    let mut found = Vec::new();
    'tables: for (table, rights) in needed {
        let mut lacks = Vec::new();
        for right in *rights {
            if let Err(error) = conn.batch_execute(&explained(right, table)) {
                match conn.why_no_tables(None, &error)? {
                    Tables::Missing => continue 'tables,
                    Tables::Denied => lacks.push(*right),
                    Tables::Exist => return Err(error),
                }
            }
        }
        found.push(FoundTable {
            name: (*table).to_owned(),
            lacks,
            ..FoundTable::default()
        });
    }
    Ok(found)
}

pub(super) fn grantee(conn: &mut MysqlConnection) -> QueryResult<Grantee> {
    // The host is what follows the last `@`; a user's name may contain one.
    diesel::sql_query(
        "select concat(quote(left(u, char_length(u) - char_length(substring_index(u, '@', -1)) - 1)), '@',
                quote(substring_index(u, '@', -1))) as user_name,
            coalesce(database(), '') as schema_name
        from (select current_user() as u) as names",
    )
    .get_result(conn)
}
