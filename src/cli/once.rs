//! The end of a program that runs once: its rate, and whether rows are left.

use std::time::Duration;

use super::run::Failure;

/// Rows per second.
pub(super) fn rate(rows: u64, took: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rows = rows as f64;
    rows / took.as_secs_f64().max(0.001)
}

/// Fails with what was `not_done` if a part has rows; each part is a number and the state of these rows.
pub(super) fn is_complete(not_done: &str, parts: [(u64, &str); 3]) -> Result<(), Failure> {
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(rows, _)| *rows > 0)
        .map(|(rows, what)| format!("{rows} {what}"))
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    let parts = parts.join("; ");
    Err(Failure::Incomplete(format!("{not_done}: {parts}")))
}
