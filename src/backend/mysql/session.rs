//! The setup of a session on MySQL and MariaDB.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::backend::qualify::RunQueryDsl;
use crate::backend::session::{Limits, Purpose, Session, whole_seconds};
use crate::config::Config;

/// What our statements rely on, whatever the server's settings or its `init_connect` say: a statement outside of a
/// transaction is committed at once, COMMIT begins no other one, all rows are read; and errors are in English. Any user
/// may set these. The first one ends a transaction that Diesel's statements have begun.
const USUAL: &str =
    "set autocommit = 1; set completion_type = 'NO_CHAIN', sql_select_limit = 18446744073709551615,
    sql_big_selects = 1, lc_messages = 'en_US';";
/// Each statement of ours sees what is committed when it starts.
const ISOLATION: &str = "set session transaction isolation level read committed;";

pub(crate) fn new(config: &Config, purpose: Purpose) -> Session {
    Session {
        setup: purpose.limit().map_or(USUAL.to_owned(), |limit| {
            // If a session is silent in the middle of a claim, the server ends it and releases its
            // lock. The last setting exists on MariaDB only; MySQL has none for writes and refuses the name.
            let (idle, limit) = (
                whole_seconds(limit),
                limit.as_secs_f64().clamp(0.001, 31_536_000.0),
            );
            format!(
                "{USUAL} {ISOLATION} set wait_timeout = {};
                         set max_statement_time =
                             if(@@max_statement_time = 0, {limit}, @@max_statement_time)",
                at_most("wait_timeout", idle)
            )
        }),
        limits: limits(config.statement_timeout),
        ..Session::default()
    }
}

/// A setting's value, or this one if it is smaller. The cast is for MySQL, where `least` of an unsigned and a
/// signed number is a decimal number, which settings do not accept.
fn at_most(setting: &str, limit: u32) -> String {
    format!("cast(least(@@{setting}, {limit}) as unsigned)")
}

/// Writes the statement for the settings that are changed here. MySQL and MariaDB know different ones: the
/// comments are read by one of them only.
const SETTINGS: &str = "\
select concat('set session autocommit = ', @@session.autocommit,
    ', session completion_type = ', quote(@@session.completion_type),
    ', session sql_select_limit = ', @@session.sql_select_limit,
    ', session sql_big_selects = ', @@session.sql_big_selects,
    ', session lc_messages = ', quote(@@session.lc_messages),
    ', session wait_timeout = ', @@session.wait_timeout,
    ', session innodb_lock_wait_timeout = ', @@session.innodb_lock_wait_timeout,
    ', session lock_wait_timeout = ', @@session.lock_wait_timeout
    /*M! , ', session max_statement_time = ', @@session.max_statement_time,
        ', session tx_isolation = ', quote(@@session.tx_isolation) */
    /*!80000 , ', session transaction_isolation = ', quote(@@session.transaction_isolation) */
) as statement";

/// A statement that gives the session its present settings back.
pub(super) fn settings(conn: &mut MysqlConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Settings {
        #[diesel(sql_type = Text)]
        statement: String,
    }

    let settings: Settings = diesel::sql_query(SETTINGS).get_result(conn)?;
    Ok(settings.statement)
}

/// Whether the server or the session is read-only.
pub(super) fn is_read_only(conn: &mut MysqlConnection) -> QueryResult<bool> {
    // A number, or a word in later versions of MariaDB. The comments are read by one of the servers only.
    let is_set = "cast(@@global.read_only as char) not in ('0', 'OFF')
        /*M! or @@session.tx_read_only */ /*!80000 or @@session.transaction_read_only */";
    diesel::select(sql::<Bool>(is_set)).get_result(conn)
}

fn limits(limit: Duration) -> Limits {
    let (locks, limit) = (
        whole_seconds(limit / 2),
        limit.as_secs_f64().clamp(0.001, 31_536_000.0),
    );
    let locks = format!(
        "set @outbox_rows = @@innodb_lock_wait_timeout, @outbox_tables = @@lock_wait_timeout,
             innodb_lock_wait_timeout = {}, lock_wait_timeout = {};",
        at_most("innodb_lock_wait_timeout", locks),
        at_most("lock_wait_timeout", locks)
    );
    Limits {
        // MySQL refuses the last name. A shorter limit of the server stays: otherwise the second connection would
        // wait for a lock that its message's connection has given up.
        all: format!(
            "{locks} set max_statement_time =
                 if(@@max_statement_time = 0, {limit}, least(@@max_statement_time, {limit}))",
        ),
        locks,
        lift: "set innodb_lock_wait_timeout = @outbox_rows, lock_wait_timeout = @outbox_tables",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_as_it_is() {
        let session = new(&Config::default(), Purpose::Commands);
        assert_eq!(session.complete("mysql://h/d"), "mysql://h/d");
    }
}
