//! Cancels calls.

use crate::Error;
use crate::backend::{AsBackend, CALLS, Lifecycle};

/// Cancels a waiting call. Returns false if it was no longer waiting: executed, leased or parked.
///
/// The row is parked with the reason `cancelled`. `outbox retry --calls` executes it after all.
///
/// # Errors
///
/// If the database fails.
pub fn cancel<C: AsBackend>(conn: &mut C, id: uuid::Uuid) -> Result<bool, Error> {
    Ok(conn.as_backend().cancel(CALLS, &[id])? > 0)
}
