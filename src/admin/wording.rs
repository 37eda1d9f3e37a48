//! What a change does to rows, in words.

use super::{Action, Rows};

/// What happened to the rows that were changed.
pub(crate) fn done(of: Rows, action: Action) -> &'static str {
    let is_call = of == Rows::Calls;
    match action {
        Action::Retry if is_call => "to be executed again",
        Action::Retry => "to be sent again",
        Action::Cancel => "cancelled",
        Action::Skip => "skipped",
        Action::Resend if is_call => "to be executed a second time",
        Action::Resend => {
            "to be sent a second time, with the same id: an inbox that has it sees a duplicate"
        }
        Action::Delete => "deleted",
    }
}

/// The rows that a change can be made to, of which there is this number.
pub(crate) fn changeable(of: Rows, action: Action, rows: u64) -> String {
    let noun = if rows == 1 { "row" } else { "rows" };
    match action {
        Action::Retry | Action::Skip | Action::Delete => format!("parked {noun}"),
        Action::Cancel if rows == 1 => "row that waits".to_owned(),
        Action::Cancel => "rows that wait".to_owned(),
        Action::Resend if of == Rows::Calls => format!("executed {noun}"),
        Action::Resend => format!("sent {noun}"),
    }
}
