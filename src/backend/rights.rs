//! The database user's rights on the tables of the outbox.

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_types::Text;

#[cfg(feature = "cli")]
use crate::migrations::TABLES;

/// A table, and rights on it that somebody needs.
#[doc(hidden)]
pub type Needed = (&'static str, &'static [&'static str]);

/// All rights on a table that the programs use.
pub(crate) const RIGHTS: [&str; 4] = ["select", "insert", "update", "delete"];

/// The rights that a relay needs to send rows. Without others it only cannot delete old rows.
pub(crate) const OF_RELAY: &[Needed] = &[
    ("published", &["select", "update"]),
    ("outbox_streams", &["select"]),
];

/// The same for an executor of calls.
pub(crate) const OF_EXECUTOR: &[Needed] = &[
    ("outbox_calls", &["select", "update"]),
    ("outbox_streams", &["select"]),
];

/// The rights that a subscriber needs to handle messages.
pub(crate) const OF_SUBSCRIBER: &[Needed] = &[("received", &["select", "insert"])];

/// The rights that a subscriber needs to count the crashes of its process.
pub(crate) const OF_CRASH_COUNT: &[Needed] = &[("outbox_deliveries", &RIGHTS)];

/// All rights on all tables.
#[cfg(feature = "cli")]
pub(crate) fn all() -> Vec<Needed> {
    TABLES.iter().map(|table| (*table, &RIGHTS[..])).collect()
}

/// A table of the outbox, and what the database user may not do with it.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// Its name.
    pub name: String,
    /// The rights that the user lacks, such as `insert`.
    pub lacks: Vec<&'static str>,
    /// Those of them that the user has on some columns. Of no use on MySQL and MariaDB, where a claim needs UPDATE on
    /// each column that it reads.
    pub on_some_columns: Vec<&'static str>,
    /// The rights for which row-level security has no policy for the user: it reads and changes no row.
    pub hidden: Vec<&'static str>,
    /// Whether row-level security applies to the user.
    pub is_filtered: bool,
}

impl FoundTable {
    /// The rights that the user has on no column.
    pub(crate) fn lacks_wholly(&self) -> Vec<&'static str> {
        let lacks = self.lacks.iter().copied();
        lacks
            .filter(|right| !self.on_some_columns.contains(right))
            .collect()
    }
}

/// The database user, and the schema or the database of the tables, as GRANT expects them.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq, QueryableByName)]
pub struct Grantee {
    /// The user.
    #[diesel(sql_type = Text)]
    pub user_name: String,
    /// The schema or the database.
    #[diesel(sql_type = Text)]
    pub schema_name: String,
}

/// The database user lacks rights that the program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingRights {
    /// The user, as GRANT expects it.
    pub user: String,
    /// The schema or the database of the tables, as GRANT expects it.
    pub schema: String,
    /// The tables, each with the rights that are missing.
    pub tables: Vec<(String, Vec<&'static str>)>,
}

impl fmt::Display for MissingRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, schema) = (&self.user, &self.schema);
        let lacks = each(&self.tables, |rights, table| {
            format!("{rights} on the table {table}")
        });
        let grants = each(&self.tables, |rights, table| {
            format!("`GRANT {rights} ON {schema}.{table} TO {user}`")
        });
        write!(
            f,
            "the database user {user} lacks {lacks}: as the owner of the tables, run {grants}"
        )
    }
}

impl std::error::Error for MissingRights {}

/// Row-level security of PostgreSQL hides all rows of a table from the database user, because none of its policies
/// is for this user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowSecurity {
    /// The user, as `CREATE POLICY` expects it.
    pub user: String,
    /// The schema of the tables.
    pub schema: String,
    /// The tables, each with the rights that no policy gives.
    pub tables: Vec<(String, Vec<&'static str>)>,
}

impl fmt::Display for RowSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, schema) = (&self.user, &self.schema);
        let hidden = each(&self.tables, |rights, table| {
            format!("{rights} on the table {table}")
        });
        let policies = each(&self.tables, |_, table| {
            format!("`CREATE POLICY outbox ON {schema}.{table} TO {user} USING (true)`")
        });
        write!(
            f,
            "row-level security has no policy for the database user {user} for {hidden}: as the owner of the tables, \
             run {policies}, or give the user BYPASSRLS"
        )
    }
}

impl std::error::Error for RowSecurity {}

/// A text for each table and its rights.
fn each(tables: &[(String, Vec<&str>)], text: impl Fn(&str, &str) -> String) -> String {
    let tables = tables.iter();
    let texts: Vec<String> = tables
        .map(|(table, rights)| text(&rights.join(", ").to_uppercase(), table))
        .collect();
    texts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_named_with_the_statements_that_grant_them() {
        let missing = MissingRights {
            user: "'shop'@'%'".to_owned(),
            schema: "app".to_owned(),
            tables: vec![
                ("published".to_owned(), vec!["select", "update"]),
                ("outbox_streams".to_owned(), vec!["select"]),
            ],
        };
        assert_eq!(
            missing.to_string(),
            "the database user 'shop'@'%' lacks SELECT, UPDATE on the table published and SELECT on the table \
             outbox_streams: as the owner of the tables, run `GRANT SELECT, UPDATE ON app.published TO 'shop'@'%'` \
             and `GRANT SELECT ON app.outbox_streams TO 'shop'@'%'`"
        );
    }
}
