//! The database: whether it can be used, and what is in the way.

use chrono::{DateTime, TimeDelta, Utc};

use super::check::{Check, counted};
use super::expected::Expected;
use super::queues::Subscribed;
use super::report::Report;
use super::{connections, indexes, migrations, rights, statistics};
use crate::backend::inspection::{Inspection, READ_ROWS, UsedDestination};
use crate::backend::rights::FoundTable;
use crate::config::Config;
use crate::db::{Address, Db, DbError};

/// A difference between the clocks from which on it is a warning.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(1);

/// A database that answers, and the report.
pub(super) struct Database<'a, C: Inspection> {
    pub(super) db: Db<C>,
    pub(super) config: &'a Config,
    pub(super) expected: Expected,
    pub(super) report: &'a mut Report,
}

/// Checks the database. Returns the destinations of waiting rows, if they could be read.
pub(super) async fn check<C: Inspection>(
    config: &Config,
    address: &Address,
    queues: &[Subscribed],
    report: &mut Report,
) -> Option<Vec<UsedDestination>> {
    let mut database = Database {
        db: Db::<C>::for_checks(config, address),
        config,
        expected: Expected::of(C::SCRIPTS),
        report,
    };
    if !database.connection().await {
        return None;
    }
    database.sessions().await;
    database.schema().await;
    database.writable().await;
    database.clock().await;
    connections::check(&mut database, queues).await;
    let tables = database.ask("database.tables", C::find_tables).await?;
    if !migrations::check(&mut database, &tables).await {
        return None;
    }
    rights::check(&mut database, &tables);
    indexes::check(&mut database).await;
    statistics::check(&mut database).await;
    if !tables.iter().any(is_readable_outbox) {
        return None;
    }
    let used = database
        .ask("database.waiting", C::used_destinations)
        .await?;
    database.waiting(&used);
    Some(used)
}

/// Whether this is the outbox, and its rows may be read.
fn is_readable_outbox(table: &FoundTable) -> bool {
    table.name == "published" && !table.lacks.contains(&"select")
}

impl<C: Inspection> Database<'_, C> {
    /// Runs a statement; one that fails is a line of the report.
    pub(super) async fn ask<T: Send + 'static>(
        &mut self,
        name: &'static str,
        statement: impl FnOnce(&mut C) -> diesel::QueryResult<T> + Send + 'static,
    ) -> Option<T> {
        match self.db.run(statement).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                let text = self.db.masked(&error.to_string());
                self.push(Check::error(
                    name,
                    format_args!("cannot be checked: {text}"),
                    "look at the server's log; the programs need this statement or similar ones",
                ));
                None
            }
        }
    }

    pub(super) fn push(&mut self, check: Check) {
        self.report.push(check);
    }

    async fn connection(&mut self) -> bool {
        const NAME: &str = "database.connection";
        if let Err(error) = self.db.check_connection().await {
            let advice = match error.is_outage() {
                true => {
                    "start the server, or correct the host and the port in database_url; nothing else of the \
                     database is checked"
                }
                false => {
                    "correct the user, the password and the database's name in database_url; nothing else of \
                     the database is checked"
                }
            };
            self.push(Check::error(NAME, error, advice));
            return false;
        }
        let Some(version) = self.ask(NAME, C::server_version).await else {
            return false;
        };
        let shown = version.split(" on ").next().unwrap_or_default();
        let text = match (shown, shown.starts_with(C::NAME)) {
            ("", _) => C::NAME.to_owned(),
            (_, true) => shown.to_owned(),
            (_, false) => format!("{} {shown}", C::NAME),
        };
        match C::check_version(&version) {
            Ok(()) => self.push(Check::ok(NAME, text)),
            Err(old) => self.push(Check::error(
                "database.version",
                old,
                "upgrade the server: the statements of the outbox need it",
            )),
        }
        true
    }

    /// Poolers, and settings of the server with which no row can be claimed.
    async fn sessions(&mut self) {
        const NAME: &str = "database.sessions";
        let reason = match self.db.check_sessions().await {
            Ok(()) => match self.ask(NAME, C::why_no_claims).await {
                Some(reason) => reason,
                None => return,
            },
            Err(DbError::Unsuitable(reason)) => Some(reason),
            Err(error) => {
                self.push(Check::unknown(NAME, error, "try again"));
                return;
            }
        };
        self.push(match reason {
            Some(reason) => Check::error(NAME, reason, "the text above says what to change"),
            None => Check::ok(NAME, "each connection has a session of its own"),
        });
    }

    /// Which schema has the outbox, and whether another one could be taken for it.
    async fn schema(&mut self) {
        const NAME: &str = "database.schema";
        let named = self.config.database_schema.clone();
        let Some(found) = self
            .ask(NAME, move |conn| conn.find_schema(named.as_deref()))
            .await
        else {
            return;
        };
        let Some(schema) = found.schema else {
            return;
        };
        self.push(match found.others.as_slice() {
            [other, ..] if self.config.database_schema.is_none() => Check::warning(
                NAME,
                format_args!(
                    "{schema} is used, and {} in the search path has an outbox, too",
                    found.others.join(", ")
                ),
                format_args!("set database_schema to {schema} or to {other}"),
            ),
            _ => Check::ok(NAME, schema),
        });
    }

    async fn writable(&mut self) {
        const NAME: &str = "database.writable";
        let Some(reason) = self.ask(NAME, C::why_not_writable).await else {
            return;
        };
        let mut advice =
            "connect to the primary server, or give this user the right to write".to_owned();
        if let Some(setting) = C::READ_ONLY_SETTING {
            advice.push_str(", or turn off the setting ");
            advice.push_str(setting);
        }
        self.push(match reason {
            None => Check::ok(NAME, "takes writes"),
            Some(reason) => Check::error(NAME, reason, advice),
        });
    }

    async fn clock(&mut self) {
        const NAME: &str = "database.clock";
        if !C::HAS_OWN_CLOCK {
            return;
        }
        let read = |conn: &mut C| {
            // The first statement may wait for something that the second one does not.
            conn.now()?;
            let before = Utc::now();
            Ok::<_, diesel::result::Error>((before, conn.now()?, Utc::now()))
        };
        if let Some((before, database, after)) = self.ask(NAME, read).await {
            self.push(clock(before, database, after));
        }
    }

    fn waiting(&mut self, used: &[UsedDestination]) {
        let rows: i64 = used.iter().map(|one| one.waiting).sum();
        let destinations = used.iter().filter(|one| one.waiting > 0).count();
        let is_part = rows >= READ_ROWS;
        let first = if is_part { "the first " } else { "" };
        self.push(Check::ok(
            "database.waiting",
            format_args!(
                "{first}{}, {}",
                counted(rows, "waiting row"),
                counted(destinations, "destination")
            ),
        ));
    }
}

/// The difference between the clocks, as far as it is not the time that the statement took.
fn clock(before: DateTime<Utc>, database: DateTime<Utc>, after: DateTime<Utc>) -> Check {
    const NAME: &str = "database.clock";
    let (difference, words) = if database < before {
        (before - database, "behind")
    } else if database > after {
        (database - after, "ahead of")
    } else {
        (TimeDelta::zero(), "equal to")
    };
    let text = match words {
        "equal to" => "the database's clock agrees with that of this machine".to_owned(),
        _ => format!(
            "the database's clock is {} s {words} that of this machine",
            // Milliseconds.
            difference.num_milliseconds() as f64 / 1000.0
        ),
    };
    if difference < CLOCK_TOLERANCE {
        return Check::ok(NAME, text);
    }
    Check::warning(
        NAME,
        text,
        "synchronise the clocks of both machines (NTP): times in messages and in the tables differ by that",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_differs_by_what_the_statement_cannot_explain() {
        let at =
            |milliseconds: i64| DateTime::from_timestamp_millis(1_000_000 + milliseconds).unwrap();
        for (before, database, after, verdict, text) in [
            (0, 1, 2, Verdict::Ok, "agrees"),
            (0, 3_000, 5_000, Verdict::Ok, "agrees"),
            (0, -999, 5, Verdict::Ok, "0.999 s behind"),
            (0, -1_000, 5, Verdict::Warning, "1 s behind"),
            (0, 1_004, 5, Verdict::Ok, "0.999 s ahead of"),
            (0, 61_505, 5, Verdict::Warning, "61.5 s ahead of"),
        ] {
            let check = clock(at(before), at(database), at(after));
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.text.contains(text), "{check:?}");
        }
    }
}
