//! Whether a message is to blame for a database that seems to be away.
//!
//! An attempt that ended like an outage is a suspicion and no proof: a callback may have ended its own
//! session, sent a statement that no server takes, or raised an error that reads like the server's.
//! So another connection is asked. Where it cannot write either, the database is away. Where it can,
//! only this message waits, and from then on it is handled on a connection of its own with a witness
//! beside it, both opened for the attempt. An outage takes both, and counts for nobody, however often
//! it comes; a message that loses its own connection while the witness lives has failed by itself.

use super::inbox::Attempt;
use crate::backend::Backend;
use crate::db::{Db, Health, Witness};
use crate::registry::BoxError;

/// The message lost the database alone.
#[derive(Debug, thiserror::Error)]
#[error("the database failed this message, while a second connection worked all the time")]
struct Alone(#[source] BoxError);

/// What an attempt means, with the witness that was beside it.
pub(super) fn judge<C: Backend>(
    db: &Db<C>,
    witness: Option<&mut Witness<C>>,
    attempt: Attempt,
) -> Attempt {
    let Attempt::Unavailable(error) = attempt else {
        return attempt;
    };
    // Other connections of the pool may lead to the same dead or read-only server.
    db.retire_all();
    match witness.map(|witness| witness.testify(db)) {
        Some(Health::Well) => return Attempt::failed(Alone(error)),
        Some(Health::Busy) => return Attempt::Lost(error),
        Some(Health::Away(_)) | None => {}
    }
    match db.health() {
        Health::Well | Health::Busy => Attempt::Lost(error),
        Health::Away(why) => {
            tracing::debug!(error = %why, "a second connection cannot write either");
            Attempt::Unavailable(error)
        }
    }
}
