//! The indexes and triggers that the migrations create, read from their SQL.

use crate::migrations::Script;

/// An index, or a unique constraint, which has an index of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedIndex {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Whether it has a condition.
    pub(super) is_partial: bool,
    pub(super) is_unique: bool,
    /// Whether it is a part of CREATE TABLE.
    pub(super) is_inline: bool,
    /// The statement that creates it.
    pub(super) statement: String,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedTrigger {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) statement: String,
}

/// What the migrations create beside tables and columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) indexes: Vec<ExpectedIndex>,
    pub(super) triggers: Vec<ExpectedTrigger>,
}

impl Expected {
    /// Reads the scripts in their order.
    pub(super) fn of(scripts: &[Script]) -> Self {
        let mut expected = Self::default();
        for script in scripts {
            let lines = script.up.lines();
            let lines: Vec<&str> = lines
                .map(|line| line.split("--").next().unwrap_or(""))
                .collect();
            for statement in lines.join("\n").split(';') {
                let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
                expected.read(&statement.replacen(" if not exists ", " ", 1));
            }
        }
        expected
    }

    fn read(&mut self, statement: &str) {
        if let Some(rest) = statement.strip_prefix("create table ") {
            let (table, body) = rest.split_once('(').unwrap_or((rest, ""));
            let table = table.trim();
            for item in items(inside(body)) {
                self.item(table, item, true);
            }
        } else if let Some((table, actions)) = statement
            .strip_prefix("alter table ")
            .and_then(|rest| rest.split_once(' '))
        {
            for item in items(actions) {
                if let Some(item) = item.strip_prefix("add ") {
                    self.item(table, item, false);
                }
            }
        } else if let Some(name) = statement.strip_prefix("drop index ") {
            let name = name.split(' ').next().unwrap_or(name);
            self.indexes.retain(|index| index.name != name);
        } else if let Some(rest) = statement.strip_prefix("create trigger ") {
            let table = rest.split_once(" on ").map(|(_, rest)| word(rest));
            if let Some(table) = table {
                self.triggers.push(ExpectedTrigger {
                    table: table.to_owned(),
                    name: word(rest).to_owned(),
                    statement: statement.to_owned(),
                });
            }
        } else if let Some((kind, rest)) = statement
            .strip_prefix("create ")
            .and_then(|rest| rest.split_once("index "))
            .filter(|(kind, _)| matches!(*kind, "" | "unique "))
            && let Some((name, rest)) = rest.split_once(" on ")
            && let Some((table, rest)) = rest.split_once('(')
        {
            let columns = inside(rest);
            self.indexes.push(ExpectedIndex {
                table: table.trim().to_owned(),
                name: name.to_owned(),
                columns: names(columns),
                is_partial: rest[columns.len()..].contains(" where "),
                is_unique: kind == "unique ",
                is_inline: false,
                statement: statement.to_owned(),
            });
        }
    }

    /// An item of CREATE TABLE, or of `alter table … add`.
    fn item(&mut self, table: &str, item: &str, is_inline: bool) {
        // A column's type has no space before its length: `key varchar(255)` is a column.
        let Some((head, rest)) = item.split_once(" (") else {
            return;
        };
        let (name, is_unique) = match head.split_whitespace().collect::<Vec<_>>()[..] {
            ["constraint", name, "unique"] | ["unique", "key" | "index", name] => (name, true),
            ["key" | "index", name] => (name, false),
            _ => return,
        };
        self.indexes.push(ExpectedIndex {
            table: table.to_owned(),
            name: name.to_owned(),
            columns: names(inside(rest)),
            is_partial: false,
            is_unique,
            is_inline,
            statement: format!("alter table {table} add {item}"),
        });
    }
}

/// The first word.
fn word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

/// The text up to the parenthesis that closes one before it.
fn inside(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

/// The parts between commas that are not in parentheses.
fn items(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}

/// The names of columns, without quotes.
fn names(columns: &str) -> Vec<String> {
    let columns = columns.split(',');
    columns
        .map(|column| column.trim().trim_matches(['`', '"']).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::Migrate;

    fn shown<C: Migrate>() -> Vec<String> {
        let expected = Expected::of(C::SCRIPTS);
        let mut shown: Vec<String> = expected
            .indexes
            .iter()
            .map(|index| format!("{}.{} {}", index.table, index.name, index.columns.join(" ")))
            .collect();
        let triggers = expected.triggers.iter();
        shown.extend(triggers.map(|trigger| format!("{}.{}", trigger.table, trigger.name)));
        shown
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn the_indexes_of_postgresql_are_read_from_its_migrations() {
        let all = shown::<diesel::PgConnection>();
        for expected in [
            "published.published_waiting seq",
            "published.published_held key due_at seq",
            "published.published_settled added",
            "received.received_once msg_id consumer",
            "received.received_added added",
            "outbox_calls.outbox_calls_held key due_at seq",
            "published.outbox_wake",
            "outbox_calls.outbox_wake",
        ] {
            assert!(all.iter().any(|one| one == expected), "{expected}: {all:?}");
        }
        let expected = Expected::of(diesel::PgConnection::SCRIPTS);
        let of = |name: &str| {
            expected
                .indexes
                .iter()
                .find(|index| index.name == name)
                .unwrap()
        };
        assert!(of("published_held").is_partial && !of("received_added").is_partial);
        assert!(of("received_once").is_unique && of("received_once").is_inline);
        assert_eq!(
            of("received_once").statement,
            "alter table received add constraint received_once unique (msg_id, consumer)"
        );
        assert_eq!(
            of("published_waiting").statement,
            "create index published_waiting on published (seq) where status = 1"
        );
        // The migration says `if not exists`.
        assert_eq!(
            of("published_parked").statement,
            "create index published_parked on published (seq) where status = -1"
        );
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn the_indexes_of_mysql_are_read_from_its_migrations() {
        let all = shown::<diesel::MysqlConnection>();
        for expected in [
            "published.published_seq seq",
            "published.published_waiting status seq",
            "published.published_held status due_at key seq",
            "received.received_once msg_id consumer",
            "received.received_added added",
            "outbox_calls.outbox_calls_settled status added",
        ] {
            assert!(all.iter().any(|one| one == expected), "{expected}: {all:?}");
        }
        let expected = Expected::of(diesel::MysqlConnection::SCRIPTS);
        let of = |name: &str| {
            expected
                .indexes
                .iter()
                .find(|index| index.name == name)
                .unwrap()
        };
        assert_eq!(
            of("published_held").statement,
            "alter table published add key published_held (status, due_at, `key`, seq)"
        );
        assert!(of("published_seq").is_unique);
    }
}
