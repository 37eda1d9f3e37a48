//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use std::sync::Arc;

use super::blame;
use super::count::Count;
use super::external;
use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::Backend;
use crate::db::DbError;
use crate::payload::Payload;
use crate::registry::{Blocking, External};

/// Tries the message once, on this thread. One that lost the database before gets connections of its
/// own; see [`blame`].
pub(super) fn attempt<C: Backend>(
    count: &Count<C>,
    callback: &Blocking<C>,
    job: &Job,
    is_alone: bool,
) -> Attempt {
    let mut beside = match job.course.has_lost().then(|| count.db().pair()).transpose() {
        Ok(beside) => beside,
        Err(error) => return Attempt::Unavailable(error.into()),
    };
    let (conn, witness) = match &mut beside {
        Some((conn, witness)) => (Some(conn), Some(witness)),
        None => (None, None),
    };
    let (attempt, is_dead) = counted(count, callback, job, is_alone, conn);
    let attempt = blame::judge(count.db(), witness, is_dead, attempt);
    ended(count, &job.payload, count.concerns(job), attempt)
}

/// The pool from which an attempt takes connections, if it does.
pub(super) fn pool<C: Backend>(count: &Count<C>, job: &Job) -> Option<u64> {
    // A message that is counted is so on the pool at its end.
    let uses_it = !job.course.has_lost() || count.concerns(job);
    uses_it.then(|| count.db().pool_in_use())
}

/// Also says whether the message's own connection, if it has one, is dead.
fn counted<C: Backend>(
    count: &Count<C>,
    callback: &Blocking<C>,
    job: &Job,
    is_alone: bool,
    mut conn: Option<&mut C>,
) -> (Attempt, bool) {
    let begun = match count.concerns(job) {
        true => count.begin_again(&job.payload, is_alone, conn.as_deref_mut()),
        false => Ok(()),
    };
    let (db, payload, failures) = (count.db(), &job.payload, job.course.failures);
    let attempt = match (begun, &mut conn) {
        (Err(attempt), _) => attempt,
        (Ok(()), Some(conn)) => db.within(conn, |conn| {
            inbox::attempt_alone(db, conn, callback, payload, failures)
        }),
        (Ok(()), None) => inbox::attempt(db, callback, payload, failures),
    };
    let is_dead = matches!(attempt, Attempt::Unavailable(_))
        && conn.is_some_and(|conn| conn.is_broken() || conn.ping().is_err());
    (attempt, is_dead)
}

fn ended<C: Backend>(
    count: &Count<C>,
    payload: &Payload,
    is_counted: bool,
    attempt: Attempt,
) -> Attempt {
    if is_counted {
        count.ended(payload, &attempt);
    }
    if count.is_behind() && shows_the_database(&attempt) {
        count.settle();
    }
    attempt
}

/// The same for a callback whose work is not in the database. `abandoned` when nobody waits for the
/// attempt any more.
pub(super) async fn attempt_apart<C: Backend>(
    count: &Count<C>,
    callback: &Arc<External>,
    job: &Job,
    is_alone: bool,
    abandoned: impl Future<Output = ()>,
) -> Attempt {
    let unfinished = |lost: DbError| inbox::hindrance(lost.into());
    let db = count.db();
    let (is_counted, has_lost) = (count.concerns(job), job.course.has_lost());
    let mut witness = None;
    if is_counted || has_lost {
        let (count, payload) = (count.clone(), job.payload.clone());
        let begun = db.apart(move || {
            let unavailable = |error: DbError| Attempt::Unavailable(error.into());
            let mut witness = has_lost
                .then(|| count.db().witness())
                .transpose()
                .map_err(unavailable)?;
            if is_counted && let Err(attempt) = count.begin_again(&payload, is_alone, None) {
                return Err(blame::judge(count.db(), witness.as_mut(), false, attempt));
            }
            Ok(witness)
        });
        match begun.await.unwrap_or_else(|lost| Err(unfinished(lost))) {
            Ok(opened) => witness = opened,
            Err(attempt) => return attempt,
        }
    }
    let failures = job.course.failures;
    let attempt = external::attempt(db, callback, &job.payload, failures, abandoned).await;
    if !is_counted && !count.is_behind() && !matches!(attempt, Attempt::Unavailable(_)) {
        return attempt;
    }
    let (own, payload) = (count.clone(), job.payload.clone());
    let judged = db.apart(move || {
        // It has no connection of its own of which we know.
        let attempt = blame::judge(own.db(), witness.as_mut(), false, attempt);
        ended(&own, &payload, is_counted, attempt)
    });
    // What it did is found when it is tried again.
    judged.await.unwrap_or_else(unfinished)
}

/// Whether the database was there for it.
fn shows_the_database(attempt: &Attempt) -> bool {
    !matches!(attempt, Attempt::Unavailable(_))
}
