//! What `outbox doctor` reads on MySQL and MariaDB.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Variable;
use crate::backend::dialect::Dialect;
use crate::backend::inspection::{
    ConnectionsLeft, FoundIndex, IndexRow, Inspection, Named, Recorded, SessionLimits,
    UsedDestination, read_versions, table_list, used_destinations,
};
use crate::backend::qualify::RunQueryDsl;
use crate::backend::schemas::Tables;

const INDEXES: &str = "\
select table_name as in_table, index_name as name,
    cast(group_concat(column_name order by seq_in_index) as char) as column_list,
    cast(1 as signed) as valid, cast(0 as signed) as partial
from information_schema.statistics
where table_schema = database() and table_name in ({tables})
group by table_name, index_name";

/// Whether the user may not use the table, or there is none; other errors are returned.
fn why(conn: &mut MysqlConnection, error: diesel::result::Error) -> QueryResult<Tables> {
    match conn.why_no_tables(None, &error)? {
        Tables::Exist => Err(error),
        other => Ok(other),
    }
}

impl Inspection for MysqlConnection {
    const READ_ONLY_SETTING: Option<&'static str> =
        Some("`transaction_read_only` (MariaDB: `tx_read_only`), also in `init_connect`");

    fn recorded_versions(&mut self) -> QueryResult<Recorded> {
        if let Err(error) = self.batch_execute("explain select version from outbox_migrations") {
            return Ok(match why(self, error)? {
                Tables::Missing => Recorded::NoTable,
                _ => Recorded::Denied,
            });
        }
        Ok(read_versions!(self))
    }

    fn find_indexes(&mut self) -> QueryResult<Vec<FoundIndex>> {
        let statement = INDEXES.replace("{tables}", &table_list());
        let rows: Vec<IndexRow> = diesel::sql_query(statement).load(self)?;
        Ok(rows.into_iter().map(FoundIndex::from).collect())
    }

    fn session_limits(&mut self) -> QueryResult<SessionLimits> {
        #[derive(QueryableByName)]
        struct Limits {
            #[diesel(sql_type = BigInt)]
            idle: i64,
            #[diesel(sql_type = BigInt)]
            of_server: i64,
        }
        let limits: Limits = diesel::sql_query(
            "select cast(@@session.wait_timeout as signed) as idle,
                cast(@@global.max_connections as signed) as of_server",
        )
        .get_result(self)?;
        let used: Vec<Variable> =
            diesel::sql_query("show global status like 'Threads_connected'").load(self)?;
        let used = used.into_iter().next();
        let used = used.and_then(|it| it.value.parse::<i64>().ok());
        let idle = u64::try_from(limits.idle).unwrap_or(0);
        Ok(SessionLimits {
            idle: Some(("wait_timeout", Duration::from_secs(idle))),
            connections: used.map(|used| ConnectionsLeft {
                left: (limits.of_server - used).max(0),
                limit: limits.of_server,
            }),
            ..SessionLimits::default()
        })
    }

    fn used_destinations(&mut self) -> QueryResult<Vec<UsedDestination>> {
        diesel::sql_query(used_destinations()).load(self)
    }
}
