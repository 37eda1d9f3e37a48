//! Whether a message is to blame for a database that seems to be away.
//!
//! An attempt that ended like an outage is a suspicion and no proof: a callback may have ended its own
//! session, sent a statement that no server takes, or raised an error that reads like the server's.
//! So another connection is asked. Where it cannot write either, the database is away. Where it can,
//! only this message waits, and from then on it is handled on a connection of its own with a witness
//! beside it, both opened for the attempt. An outage takes both, and counts for nobody, however often
//! it comes; a message that loses its own connection while the witness lives has failed by itself. So has
//! one whose statement is interrupted, and one that tells of a lost connection while its own is there.
//! Anything else, such as a tablespace that is full or a page that cannot be read, is the server's: the
//! message waits, however long that takes.

use super::inbox::{Attempt, Refused};
use crate::backend::Backend;
use crate::db::{Db, Health, Witness, is_interrupted, is_of_a_connection};
use crate::registry::BoxError;

/// The message lost the database alone.
#[derive(Debug, thiserror::Error)]
#[error("the database failed this message, while a second connection worked all the time")]
struct Alone(#[source] BoxError);

/// What an attempt means, with the witness that was beside it; `is_dead` tells of the message's own
/// connection.
pub(super) fn judge<C: Backend>(
    db: &Db<C>,
    witness: Option<&mut Witness<C>>,
    is_dead: bool,
    attempt: Attempt,
) -> Attempt {
    let Attempt::Unavailable(error) = attempt else {
        return attempt;
    };
    // Other connections of the pool may lead to the same dead or read-only server.
    db.retire_all();
    match witness.map(|witness| witness.testify(db)) {
        Some(Health::Well) if is_dead || is_own(&error) => {
            return Attempt::failed(Alone(error));
        }
        Some(Health::Well | Health::Busy) => return Attempt::Lost(error),
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

/// Whether the message's own connection, being there, shows that the error is the message's own.
fn is_own(error: &BoxError) -> bool {
    let error = error.as_ref();
    is_interrupted(error) || is_of_a_connection(error) || error.is::<Refused>()
}
