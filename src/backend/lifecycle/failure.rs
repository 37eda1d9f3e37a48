//! Failed attempts, and what happens to their rows.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{PARKED, WAITING};
use crate::backend::claimed::RowKey;
use crate::backend::dialect::{Changes, Dialect};
use crate::backend::moments::{after, never, storable};

/// What happens to a row after a failed attempt.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub enum FailureAction {
    /// It is retried after a pause and blocks its key until then.
    Retry(Duration),
    /// It is retried after a pause and blocks its key until then. The attempt does not count: the row is not
    /// at fault.
    Postpone(Duration),
    /// It is retried at this time and blocks its key until then, which is not a failed attempt.
    NotBefore(DateTime<Utc>),
    /// It is parked and blocks its key until an operator retries or skips it.
    Park,
    /// It is parked, and its key continues without it.
    ParkAndSkip,
    /// It is parked because it expired, which is not a failed attempt. Its key continues without it.
    Expire,
}

/// A failed attempt to deliver a row; outages do not count.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Which row.
    pub row: RowKey,
    /// What happens to it.
    pub action: FailureAction,
    /// The reason, for `last_error`.
    pub reason: String,
}

/// The changes to a row that failed.
pub(super) fn failed<C: Dialect>(failure: &Failure, now: DateTime<Utc>) -> Changes {
    let (status, due_at, attempts) = match failure.action {
        FailureAction::Retry(pause) => (WAITING, after(now, pause), 1),
        FailureAction::Postpone(pause) => (WAITING, after(now, pause), 0),
        FailureAction::NotBefore(due) => (WAITING, storable(due), 0),
        FailureAction::Park => (PARKED, never(), 1),
        // Not the current time: if the clock is set back, it would lie in the future.
        FailureAction::ParkAndSkip => (PARKED, DateTime::UNIX_EPOCH, 1),
        FailureAction::Expire => (PARKED, DateTime::UNIX_EPOCH, 0),
    };
    let (due_at, reason) = (C::time_literal(due_at), C::text_literal(&failure.reason));
    Changes {
        sql: format!(
            "status = {status}, retry = retry + {attempts}, due_at = {due_at},
            lease_token = null, last_error = {reason}"
        ),
        is_frequent: false,
    }
}
