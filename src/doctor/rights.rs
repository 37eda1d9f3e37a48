//! The rights of the database user.

use super::check::Check;
use super::database::Database;
use crate::backend::inspection::Inspection;
use crate::backend::rights::FoundTable;

const NAME: &str = "database.rights";
const ROW_SECURITY: &str = "database.row_security";

pub(super) fn check<C: Inspection>(database: &mut Database<'_, C>, tables: &[FoundTable]) {
    let mut is_complete = true;
    for table in tables.iter().filter(|table| !table.lacks.is_empty()) {
        is_complete = false;
        let rights = table.lacks.join(", ");
        let text = format!("the user lacks {rights}");
        let check = match table.lacks.as_slice() {
            _ if table.lacks_wholly().is_empty() && !table.lacks.contains(&"select") => {
                Check::warning(
                    NAME,
                    format_args!(
                        "the user has {rights} on some columns only: the programs need those that they write"
                    ),
                    grant(table),
                )
            }
            // A subscriber deletes its own rows there.
            ["delete"] if table.name != "outbox_deliveries" => Check::warning(
                NAME,
                format_args!("{text}: old rows are not deleted"),
                grant(table),
            ),
            _ => Check::error(NAME, text, grant(table)),
        };
        database.push(check.about(&table.name));
    }
    if is_complete && !tables.is_empty() {
        database.push(Check::ok(
            NAME,
            format_args!(
                "select, insert, update and delete on {} tables",
                tables.len()
            ),
        ));
    }
    row_security(database, tables);
}

/// Row-level security hides rows without any error.
fn row_security<C: Inspection>(database: &mut Database<'_, C>, tables: &[FoundTable]) {
    for table in tables.iter().filter(|table| table.is_filtered) {
        let check = if table.hidden.is_empty() {
            Check::warning(
                ROW_SECURITY,
                "row-level security applies to the user: rows that no policy shows it are left out",
                "check that the policies show this user all rows, or give it BYPASSRLS",
            )
        } else {
            let rights = table.hidden.join(", ");
            Check::error(
                ROW_SECURITY,
                format_args!("row-level security has no policy for the user for {rights}"),
                format_args!(
                    "as the owner of the table: `create policy outbox on {} to … using (true)`, or give the user \
                     BYPASSRLS, or connect as the owner",
                    table.name
                ),
            )
        };
        database.push(check.about(&table.name));
    }
}

/// The statement that gives the rights.
fn grant(table: &FoundTable) -> String {
    let on_table: Vec<&str> = table
        .lacks
        .iter()
        .filter(|right| !right.starts_with("usage"))
        .copied()
        .collect();
    let mut statements = Vec::new();
    if on_table.len() < table.lacks.len() {
        statements.push("`grant usage on schema …`".to_owned());
    }
    if !on_table.is_empty() {
        statements.push(format!(
            "`grant {} on {} to …`",
            on_table.join(", "),
            table.name
        ));
    }
    format!("as the owner of the tables: {}", statements.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_granted() {
        let grant = |lacks: &[&'static str]| {
            grant(&FoundTable {
                name: "published".to_owned(),
                lacks: lacks.to_vec(),
                ..FoundTable::default()
            })
        };
        assert_eq!(
            grant(&["insert", "delete"]),
            "as the owner of the tables: `grant insert, delete on published to …`"
        );
        assert_eq!(
            grant(&["usage on its schema", "select"]),
            "as the owner of the tables: `grant usage on schema …` and `grant select on published to …`"
        );
    }
}
