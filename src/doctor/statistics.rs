//! The statistics by which the database plans its statements.

use super::check::Check;
use super::database::Database;
use crate::backend::inspection::{Inspection, TableStatistics};

const NAME: &str = "database.statistics";

/// Fewer rows than this need no statistics.
const MANY: i64 = 10_000;

pub(super) async fn check<C: Inspection>(database: &mut Database<'_, C>) {
    let Some(tables) = database.ask(NAME, C::table_statistics).await else {
        return;
    };
    let mut is_fresh = true;
    for table in &tables {
        if let Some(text) = why_stale(table) {
            is_fresh = false;
            let renewal = match table.is_renewed {
                true => "if this comes back, lower autovacuum_analyze_scale_factor of the table",
                false => "turn autovacuum on for the table: it is off",
            };
            let advice = format!("`analyze {}`; {renewal}", table.table);
            database.push(Check::warning(NAME, text, advice).about(&table.table));
        }
    }
    if is_fresh && !tables.is_empty() {
        database.push(Check::ok(
            NAME,
            format_args!("those of {} tables are recent", tables.len()),
        ));
    }
}

fn why_stale(table: &TableStatistics) -> Option<String> {
    let rows = table.rows.max(table.changed);
    if rows < MANY {
        return None;
    }
    if !table.was_analyzed {
        return Some(format!("never made, for about {rows} rows"));
    }
    (table.changed >= MANY && table.changed > table.rows).then(|| {
        format!(
            "{} changes since they were made, for about {} rows",
            table.changed, table.rows
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_need_no_statistics() {
        let stale = |rows, changed, was_analyzed| {
            why_stale(&TableStatistics {
                table: "published".to_owned(),
                rows,
                changed,
                was_analyzed,
                is_renewed: true,
            })
        };
        assert_eq!(stale(9_999, 9_999, false), None);
        assert_eq!(
            stale(20_000, 20_000, false).as_deref(),
            Some("never made, for about 20000 rows")
        );
        assert_eq!(stale(20_000, 20_000, true), None);
        assert_eq!(
            stale(20_000, 20_001, true).as_deref(),
            Some("20001 changes since they were made, for about 20000 rows")
        );
        assert_eq!(stale(0, 9_000, true), None);
    }
}
