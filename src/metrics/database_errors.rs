//! Counts the errors of the database.

use super::handles::{Counter, counter};
use super::series::DATABASE_ERRORS;
use crate::db::DbError;

/// Counters for each kind of error.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseErrors {
    connection: Counter,
    contention: Counter,
    timeout: Counter,
    statement: Counter,
}

impl Default for DatabaseErrors {
    fn default() -> Self {
        let of = |kind| counter(DATABASE_ERRORS, &[kind]);
        Self {
            connection: of("connection"),
            contention: of("contention"),
            timeout: of("timeout"),
            statement: of("statement"),
        }
    }
}

impl DatabaseErrors {
    pub(crate) fn count(&self, error: &DbError) {
        if error.is_contention() {
            self.contention();
        } else if matches!(error, DbError::Silent { .. }) {
            self.timeout();
        } else if error.is_outage() {
            self.connection();
        } else {
            self.statement.increment(1);
        }
    }

    /// The database did not answer in time.
    pub(crate) fn timeout(&self) {
        self.timeout.increment(1);
    }

    /// No connection could be opened, or one was lost.
    pub(crate) fn connection(&self) {
        self.connection.increment(1);
    }

    /// Another transaction was in the way.
    pub(crate) fn contention(&self) {
        self.contention.increment(1);
    }
}
