//! What `outbox doctor` reads on SQLite.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::backend::inspection::{
    FoundIndex, IndexRow, Inspection, Named, Recorded, UsedDestination, read_versions, table_list,
    used_destinations,
};
use crate::backend::qualify::RunQueryDsl;
use crate::backend::rights::FoundTable;

fn tables(conn: &mut SqliteConnection, names: &str) -> QueryResult<Vec<String>> {
    let found: Vec<Named> = diesel::sql_query(format!(
        "select name from sqlite_master where type = 'table' and name in ({names})"
    ))
    .load(conn)?;
    Ok(found.into_iter().map(|row| row.name).collect())
}

impl Inspection for SqliteConnection {
    const HAS_OWN_CLOCK: bool = false;
    // They are called `sqlite_autoindex_…`, and nothing can drop them.
    const NAMES_INDEXES_OF_CONSTRAINTS: bool = false;

    fn find_tables(&mut self) -> QueryResult<Vec<FoundTable>> {
        let found = tables(self, &table_list())?;
        let table = |name| FoundTable {
            name,
            ..FoundTable::default()
        };
        Ok(found.into_iter().map(table).collect())
    }

    fn recorded_versions(&mut self) -> QueryResult<Recorded> {
        if tables(self, "'outbox_migrations'")?.is_empty() {
            return Ok(Recorded::NoTable);
        }
        Ok(read_versions!(self))
    }

    fn find_indexes(&mut self) -> QueryResult<Vec<FoundIndex>> {
        let rows: Vec<IndexRow> = diesel::sql_query(format!(
            "select m.tbl_name as in_table, m.name as name, 1 as valid,
                (select group_concat(coalesce(i.name, '')) from pragma_index_info(m.name) i) as column_list,
                coalesce(m.sql like '% where %', 0) as partial
            from sqlite_master m where m.type = 'index' and m.tbl_name in ({})",
            table_list()
        ))
        .load(self)?;
        Ok(rows.into_iter().map(FoundIndex::from).collect())
    }

    /// Takes the lock of a writer for a moment, and writes nothing.
    fn why_not_writable(&mut self) -> QueryResult<Option<&'static str>> {
        match self.batch_execute("begin immediate; rollback") {
            Ok(()) => Ok(None),
            Err(error) if error.to_string().contains("readonly") => {
                Ok(Some("this user may not write to the file or to its folder"))
            }
            Err(error) => Err(error),
        }
    }

    fn used_destinations(&mut self) -> QueryResult<Vec<UsedDestination>> {
        diesel::sql_query(used_destinations()).load(self)
    }
}
