//! The state of a row.

use std::fmt;

use super::lifecycle::{LifecycleTable, PARKED, SUCCEEDED};

/// The state of a row of the outbox, or of a function call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowState {
    /// It waits to be sent or executed, and is not leased.
    Waiting,
    /// It is leased by a relay or an executor.
    Leased,
    /// It is parked.
    Parked,
    /// It was sent: a message.
    Sent,
    /// It was executed: a function call.
    Executed,
}

impl RowState {
    /// The state of a row of this table with this `status`.
    pub(super) fn new(table: LifecycleTable, status: i32, is_leased: bool) -> Self {
        match status {
            PARKED => Self::Parked,
            SUCCEEDED if table.is_executed => Self::Executed,
            SUCCEEDED => Self::Sent,
            _ if is_leased => Self::Leased,
            _ => Self::Waiting,
        }
    }
}

impl fmt::Display for RowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Parked => "parked",
            Self::Sent => "sent",
            Self::Executed => "executed",
        })
    }
}
