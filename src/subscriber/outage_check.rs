//! Whether an attempt that failed like an outage is an outage, or the message's own failure.
//!
//! A callback may have ended its own session, sent a statement that no server accepts, or raised an error
//! that reads like the server's. So another connection is tried. If it cannot write either, the database
//! is not available. If it can, only this message waits; from then on it is handled on a connection of its own with
//! a second one beside it, both opened for the attempt. An outage ends both, and never counts
//! as a failure of the message. The message has failed by itself if its connection is lost while the
//! second one lives, if its statement is interrupted, or if it reports a lost connection while its own works.
//! Any other error, such as a full tablespace or an unreadable page, is the server's: the message waits
//! without a time limit.

use super::attempt::{Attempt, Refused};
use crate::backend::Backend;
use crate::db::{Db, Health, SecondConnection, is_interrupted, is_of_a_connection};
use crate::error::BoxError;

/// The database failed for this message only.
#[derive(Debug, thiserror::Error)]
#[error("the connection of this message was lost, while a second connection worked all the time")]
struct OnlyThisMessage(#[source] BoxError);

/// Corrects the result of an attempt by the second connection beside it. `is_dead`: the message's own
/// connection is dead.
pub(super) fn correct<C: Backend>(
    db: &Db<C>,
    second: Option<&mut SecondConnection<C>>,
    is_dead: bool,
    attempt: Attempt,
) -> Attempt {
    let Attempt::Unavailable(error) = attempt else {
        return attempt;
    };
    // Other connections of the pool may lead to the same dead or read-only server.
    db.retire_all();
    match second.map(|second| second.check_write(db)) {
        Some(Health::Healthy) if is_dead || is_own(&error) => {
            return Attempt::failed(OnlyThisMessage(error));
        }
        Some(Health::Healthy | Health::Busy) => return Attempt::Lost(error),
        Some(Health::Unreachable(_)) | None => {}
    }
    match db.health() {
        Health::Healthy | Health::Busy => Attempt::Lost(error),
        Health::Unreachable(why) => {
            tracing::debug!(error = %why, "a second connection cannot write either");
            Attempt::Unavailable(error)
        }
    }
}

/// Whether the error is the message's own, given that the message's connection works.
fn is_own(error: &BoxError) -> bool {
    let error = error.as_ref();
    is_interrupted(error) || is_of_a_connection(error) || error.is::<Refused>()
}
