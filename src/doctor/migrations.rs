//! The tables, and the migrations that created them.

use super::check::Check;
use super::database::Database;
use crate::backend::inspection::{Inspection, Recorded};
use crate::backend::rights::FoundTable;
use crate::db::DbError;
use crate::migrations::{Script, TABLES};

const TABLES_NAME: &str = "database.tables";
const NAME: &str = "database.migrations";

/// Checks the tables and the migrations. Returns false if there are no tables to look at.
pub(super) async fn check<C: Inspection>(
    database: &mut Database<'_, C>,
    tables: &[FoundTable],
) -> bool {
    let is_there = |name: &&str| tables.iter().any(|table| table.name == **name);
    let missing: Vec<&str> = TABLES
        .iter()
        .filter(|name| !is_there(name))
        .copied()
        .collect();
    let Some(recorded) = database.ask(NAME, C::recorded_versions).await else {
        return !tables.is_empty();
    };
    let known: Vec<String> = C::SCRIPTS.iter().map(version).collect();
    let pending: Vec<&str> = match &recorded {
        Recorded::Versions(done) => {
            let pending = known.iter().filter(|version| !done.contains(version));
            pending.map(String::as_str).collect()
        }
        Recorded::NoTable | Recorded::Denied => Vec::new(),
    };
    let migrate = how_to_migrate(database).await;
    if !missing.is_empty() {
        let text = match tables {
            [] => "the outbox has no tables here".to_owned(),
            _ => format!("missing: {}", missing.join(", ")),
        };
        database.push(Check::error(TABLES_NAME, text, &migrate));
    } else {
        columns(database, tables, &migrate).await;
    }
    let check = match &recorded {
        Recorded::NoTable if tables.is_empty() => None,
        Recorded::NoTable => Some(Check::ok(
            NAME,
            "not recorded: the tables were created by the SQL of `outbox migrate --print`",
        )),
        Recorded::Denied => Some(Check::ok(
            NAME,
            "this user may not read outbox_migrations, and needs it only for `outbox migrate`",
        )),
        Recorded::Versions(_) if !pending.is_empty() => Some(Check::error(
            NAME,
            format_args!("not run yet: {}", pending.join(", ")),
            &migrate,
        )),
        Recorded::Versions(done) => Some(match newer(done, &known).as_slice() {
            [] => Check::ok(NAME, format_args!("all {} were run", known.len())),
            newer => Check::warning(
                NAME,
                format_args!(
                    "the tables are of a later version of the outbox than this program: {}",
                    newer.join(", ")
                ),
                "use the program of the later version",
            ),
        }),
    };
    if let Some(check) = check {
        database.push(check);
    }
    !tables.is_empty()
}

/// Reads nothing from each table, by the columns that a start needs.
async fn columns<C: Inspection>(
    database: &mut Database<'_, C>,
    tables: &[FoundTable],
    migrate: &str,
) {
    let cannot_read = |table: &FoundTable| {
        let mut lacks = table.lacks.iter();
        lacks.any(|right| right.starts_with("usage") || *right == "select")
    };
    if tables.iter().any(cannot_read) {
        database.push(Check::ok(
            TABLES_NAME,
            format_args!("all {} exist", TABLES.len()),
        ));
        return;
    }
    let check = match database.db.run(C::check_tables).await {
        Ok(()) => Check::ok(TABLES_NAME, format_args!("all {} exist", TABLES.len())),
        Err(error @ DbError::Statement(_)) => Check::error(TABLES_NAME, error, migrate),
        Err(error) => Check::unknown(TABLES_NAME, error, "try again"),
    };
    database.push(check);
}

/// How to migrate, for this user.
async fn how_to_migrate<C: Inspection>(database: &mut Database<'_, C>) -> String {
    let may_create = database.db.run(C::may_create_tables).await.unwrap_or(true);
    let run = "run `outbox migrate` on this database";
    match may_create {
        true => run.to_owned(),
        false => format!("{run}, as a user who may create tables: this one may not"),
    }
}

/// The versions that this program does not know.
fn newer<'a>(done: &'a [String], known: &[String]) -> Vec<&'a str> {
    let is_ours =
        |version: &&String| known.contains(version) || *version == crate::migrations::ADOPTED;
    let newer = done.iter().filter(|version| !is_ours(version));
    newer.map(String::as_str).collect()
}

/// The version that is recorded for a script: Diesel's, which is the digits before the name.
fn version(script: &Script) -> String {
    let version = script.name.split('_').next().unwrap_or(script.name);
    version.replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::{Migrate, MigrationDialect};
    use diesel::migration::{Migration, MigrationSource};

    macro_rules! check {
        ($module:ident: $connection:ty) => {
            let migrations: Vec<Box<dyn Migration<<$connection as diesel::Connection>::Backend>>> =
                <$connection>::SOURCE.migrations().unwrap();
            let mut theirs: Vec<String> = migrations
                .iter()
                .map(|migration| migration.name().version().to_string())
                .collect();
            theirs.sort();
            let ours: Vec<String> = <$connection as Migrate>::SCRIPTS
                .iter()
                .map(version)
                .collect();
            assert_eq!(ours, theirs);
        };
    }

    #[test]
    fn versions_are_those_that_diesel_records() {
        crate::backend::databases!(check);
    }
}
