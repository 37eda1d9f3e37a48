//! Changes to leased rows.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use uuid::Uuid;

use crate::backend::claimed::RowKey;
use crate::backend::dialect::Changes;
use crate::backend::lifecycle::LifecycleTable;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::scope::numbers;

/// Changes rows that no other session has locked. LIMIT keeps the subquery from being merged.
const SETTLE: &str = "\
update (
    select p.seq
    from {table} p force index ({table}_seq)
    where p.seq in ({seqs}) and p.lease_token = {token} and p.status <> 2
    limit 100000
    for update skip locked) free
straight_join {table} p force index ({table}_seq) on p.seq = free.seq
set {changes}";

fn seqs(rows: &[RowKey]) -> String {
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    numbers(&seqs)
}

pub(super) fn change_leased(
    conn: &mut MysqlConnection,
    table: LifecycleTable,
    token: Uuid,
    rows: &[RowKey],
    changes: Changes,
) -> QueryResult<usize> {
    let statement = table
        .fill(SETTLE)
        .replace("{seqs}", &seqs(rows))
        .replace("{token}", &format!("'{token}'"))
        .replace("{changes}", &changes.sql);
    diesel::sql_query(statement).execute(conn)
}

pub(super) fn not_locked(
    conn: &mut MysqlConnection,
    table: LifecycleTable,
    rows: &[RowKey],
) -> QueryResult<Vec<RowKey>> {
    #[derive(QueryableByName)]
    struct Free {
        #[diesel(sql_type = BigInt)]
        seq: i64,
    }

    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let free: Vec<Free> = diesel::sql_query(table.fill(&format!(
        "select seq from {{table}} force index ({{table}}_seq) where seq in ({})
        for update skip locked",
        seqs(rows)
    )))
    .load(conn)?;
    let is_free = |row: &&RowKey| free.iter().any(|free| free.seq == row.seq);
    Ok(rows.iter().filter(is_free).copied().collect())
}
