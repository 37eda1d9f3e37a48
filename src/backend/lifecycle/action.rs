//! What an operator does with rows, as SQL.

use super::{LifecycleTable, PARKED, SUCCEEDED, WAITING};
use crate::backend::dialect::Dialect;

/// A change that an operator makes to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Makes parked rows wait again, with all their attempts.
    Retry,
    /// Parks waiting rows that are not leased, with the reason `cancelled`.
    Cancel,
    /// Unblocks the keys of parked rows, which stay parked.
    Skip,
    /// Makes rows that were sent or executed wait again: they are sent or executed a second time.
    Resend,
    /// Deletes parked rows.
    Delete,
}

impl Action {
    /// The condition that a row's state allows this action. `now` is an SQL literal.
    pub(super) fn condition(self, now: &str) -> String {
        match self {
            Self::Retry | Self::Skip | Self::Delete => format!("status = {PARKED}"),
            Self::Cancel => {
                format!("status = {WAITING} and (lease_token is null or due_at <= {now})")
            }
            Self::Resend => format!("status = {SUCCEEDED}"),
        }
    }

    /// The `status` of the rows that it changes.
    pub(super) fn status(self) -> i32 {
        match self {
            Self::Retry | Self::Skip | Self::Delete => PARKED,
            Self::Cancel => WAITING,
            Self::Resend => SUCCEEDED,
        }
    }

    /// The changes to a row; `None` if it is deleted.
    fn changes<C: Dialect>(self, table: LifecycleTable) -> Option<String> {
        let (epoch, never) = (C::EPOCH, C::NEVER);
        let again =
            format!("status = {WAITING}, retry = 0, due_at = {epoch}, expires_at = {never}");
        Some(match self {
            // Its executions may have ended their processes.
            Self::Retry if table.is_executed => format!("{again}, crashes = 0"),
            Self::Retry => again,
            // `due_at` is a time that has passed, so that the key continues.
            Self::Cancel => format!(
                "status = {PARKED}, due_at = {epoch}, lease_token = null, last_error = 'cancelled'"
            ),
            Self::Skip => format!("due_at = {epoch}"),
            // A call keeps the token of the transaction in which it was executed.
            Self::Resend if table.is_executed => {
                format!("{again}, lease_token = null, crashes = 0")
            }
            Self::Resend => format!("{again}, lease_token = null"),
            Self::Delete => return None,
        })
    }

    /// The statement for the rows that meet a condition. With `by_seq` the condition is on `seq`, and the
    /// statement reads no other rows.
    pub(super) fn statement<C: Dialect>(
        self,
        table: LifecycleTable,
        rows: &str,
        by_seq: bool,
    ) -> String {
        let index = if by_seq { C::BY_SEQ } else { "" };
        let statement = match self.changes::<C>(table) {
            Some(changes) => format!("update {{table}} {index} set {changes} where {rows}"),
            // MySQL takes an index only for a table with an alias.
            None if index.is_empty() => format!("delete from {{table}} where {rows}"),
            None => format!("delete p from {{table}} p {index} where {rows}"),
        };
        table.fill(&statement)
    }
}
