//! Indexes, unique constraints and triggers: what the migrations create, and what is there.

use super::check::Check;
use super::database::Database;
use super::expected::{ExpectedIndex, ExpectedTrigger};
use crate::backend::inspection::{FoundIndex, FoundTrigger, Inspection};

const NAME: &str = "database.indexes";
const TRIGGERS: &str = "database.triggers";

pub(super) async fn check<C: Inspection>(database: &mut Database<'_, C>) {
    if let Some(found) = database.ask(NAME, C::find_indexes).await {
        of_indexes(database, &found);
    }
    if database.expected.triggers.is_empty() {
        return;
    }
    if let Some(found) = database.ask(TRIGGERS, C::find_triggers).await {
        of_triggers(database, &found);
    }
}

fn of_indexes<C: Inspection>(database: &mut Database<'_, C>, found: &[FoundIndex]) {
    let is_named = |index: &&ExpectedIndex| !index.is_inline || C::NAMES_INDEXES_OF_CONSTRAINTS;
    let expected: Vec<ExpectedIndex> = database
        .expected
        .indexes
        .iter()
        .filter(is_named)
        .cloned()
        .collect();
    let mut problems = 0;
    for index in &expected {
        let same = |other: &&FoundIndex| other.table == index.table && other.name == index.name;
        let found = found.iter().find(same);
        let create = statement(database, index);
        let check = match found {
            None => Check::error(
                NAME,
                match index.is_unique {
                    true => "missing: nothing keeps duplicates out",
                    false => "missing: statements read the whole table",
                },
                format_args!("create it: `{create}`"),
            ),
            Some(found) if !found.is_valid => Check::error(
                NAME,
                "not valid: a build of it was interrupted, and the database does not use it",
                format_args!("`drop index {}`, then `{create}`", index.name),
            ),
            Some(found) if found.columns != index.columns => Check::warning(
                NAME,
                format_args!(
                    "is on ({}) instead of ({})",
                    found.columns.join(", "),
                    index.columns.join(", ")
                ),
                format_args!("drop it, then `{create}`"),
            ),
            Some(found) if found.is_partial != index.is_partial => Check::warning(
                NAME,
                "has another condition than the migrations give it",
                format_args!("drop it, then `{create}`"),
            ),
            Some(_) => continue,
        };
        problems += 1;
        database.push(check.about(&index.name));
    }
    if problems == 0 {
        database.push(Check::ok(
            NAME,
            format_args!("all {} exist", expected.len()),
        ));
    }
}

/// The statement that creates an index while others write.
fn statement<C: Inspection>(database: &Database<'_, C>, index: &ExpectedIndex) -> String {
    let sql = C::online(&index.statement);
    database
        .db
        .in_schema(|| C::in_named_schema(&sql).into_owned())
}

fn of_triggers<C: Inspection>(database: &mut Database<'_, C>, found: &[FoundTrigger]) {
    let expected: Vec<ExpectedTrigger> = database.expected.triggers.clone();
    let mut problems = 0;
    for trigger in &expected {
        let same =
            |other: &&FoundTrigger| other.table == trigger.table && other.name == trigger.name;
        let (text, advice) = match found.iter().find(same) {
            Some(found) if found.is_enabled => continue,
            // docs/doctor.md describes that.
            _ if !database.config.wake_up => continue,
            Some(_) => (
                "is disabled: new rows wait for the next poll",
                format!(
                    "`alter table {} enable trigger {}`, or set wake_up to false",
                    trigger.table, trigger.name
                ),
            ),
            None => (
                "is missing: new rows wait for the next poll",
                format!("`{}`, or set wake_up to false", trigger.statement),
            ),
        };
        problems += 1;
        let subject = format!("{} on {}", trigger.name, trigger.table);
        database.push(Check::warning(TRIGGERS, text, advice).about(&subject));
    }
    if problems == 0 {
        database.push(Check::ok(TRIGGERS, "new rows wake the relays"));
    }
}
