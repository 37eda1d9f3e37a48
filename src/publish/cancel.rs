//! Cancels messages.

use crate::Error;
use crate::backend::{AsBackend, Lifecycle, PUBLISHED};

/// Cancels a waiting message. Returns false if it was no longer waiting: sent, in flight or parked.
///
/// The row is parked with the reason `cancelled`. `outbox retry` sends it after all.
///
/// # Errors
///
/// If the database fails.
pub fn cancel<C: AsBackend>(conn: &mut C, id: uuid::Uuid) -> Result<bool, Error> {
    Ok(conn.as_backend().cancel(PUBLISHED, &[id])? > 0)
}
