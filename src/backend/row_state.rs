//! The state of a row.

use std::fmt;

use super::lifecycle::{PARKED, SUCCEEDED};

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
    /// It was sent or executed.
    Sent,
}

impl RowState {
    /// The state of a row with this `status`.
    pub(super) fn new(status: i32, is_leased: bool) -> Self {
        match status {
            PARKED => Self::Parked,
            SUCCEEDED => Self::Sent,
            _ if is_leased => Self::Leased,
            _ => Self::Waiting,
        }
    }
}

impl fmt::Display for RowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waits to be sent",
            Self::Leased => "leased by a relay",
            Self::Parked => "parked",
            Self::Sent => "sent",
        })
    }
}
