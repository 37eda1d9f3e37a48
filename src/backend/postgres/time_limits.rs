//! The server's time limits that can end a migration.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Text};

use crate::migrations::MigrateError;

const OF_STATEMENTS: &str = "statement_timeout";
/// From PostgreSQL 17 on.
const OF_TRANSACTIONS: &str = "transaction_timeout";

/// The limits that are set, for this session.
pub(super) struct TimeLimits {
    limits: Vec<Limit>,
    since: Instant,
}

#[derive(QueryableByName)]
struct Limit {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(sql_type = BigInt)]
    milliseconds: i64,
}

impl TimeLimits {
    pub(super) fn of(conn: &mut PgConnection) -> QueryResult<Self> {
        let limits = format!(
            "select name::text, current_setting(name) as value, setting::bigint as milliseconds
             from pg_catalog.pg_settings
             where name in ('{OF_STATEMENTS}', '{OF_TRANSACTIONS}') and setting <> '0'"
        );
        Ok(Self {
            limits: conn.transaction(|conn| diesel::sql_query(limits).load(conn))?,
            since: Instant::now(),
        })
    }

    /// Names the limit in the error of a migration that the server has ended at it.
    pub(super) fn explain(&self, conn: &mut PgConnection, error: MigrateError) -> MigrateError {
        let MigrateError::Refused(source) = error else {
            return error;
        };
        // The server ends the session, and libpq says only that the connection is lost.
        let setting = if is_lost(conn) {
            OF_TRANSACTIONS
        } else if source.to_string().contains("statement timeout") {
            OF_STATEMENTS
        } else {
            return MigrateError::Refused(source);
        };
        let limit = self.limits.iter().find(|limit| limit.name == setting);
        match limit.filter(|limit| self.has_passed(limit)) {
            Some(limit) => MigrateError::TimeLimit {
                setting,
                limit: limit.value.clone(),
                source,
            },
            None => MigrateError::Refused(source),
        }
    }

    /// Otherwise it has not ended anything: the server has been stopped, or the network is gone.
    fn has_passed(&self, limit: &Limit) -> bool {
        self.since.elapsed().as_millis() >= u128::from(limit.milliseconds.unsigned_abs())
    }
}

fn is_lost(conn: &mut PgConnection) -> bool {
    matches!(
        conn.batch_execute("select 1"),
        Err(DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _
        ))
    )
}
