//! What a worker does with a message: an attempt, and for a redelivery the crash count before it.

use std::sync::Arc;

use super::attempt::{self, Attempt};
use super::crash_count::CrashCount;
use super::external;
use super::job::Job;
use super::outage_check;
use crate::backend::Backend;
use crate::callback::Payload;
use crate::callback::kind::{Blocking, External};
use crate::db::DbError;

/// Makes one attempt, on this thread. A message for which the database failed before gets connections of its
/// own; see [`outage_check`].
pub(super) fn attempt<C: Backend>(
    count: &CrashCount<C>,
    callback: &Blocking<C>,
    job: &Job,
    is_alone: bool,
) -> Attempt {
    let mut own = match job
        .retries
        .has_lost()
        .then(|| count.db().pair())
        .transpose()
    {
        Ok(own) => own,
        // Other messages use the connections that it needs.
        Err(error) if error.is_busy() => return Attempt::Contended(error.into()),
        Err(error) => return Attempt::Unavailable(error.into()),
    };
    let (conn, second) = match &mut own {
        Some((conn, second)) => (Some(&mut **conn), Some(second)),
        None => (None, None),
    };
    let (attempt, is_dead) = counted(count, callback, job, is_alone, conn);
    let attempt = outage_check::correct(count.db(), second, is_dead, attempt);
    ended(count, &job.payload, count.is_counted(job), attempt)
}

/// The pool from which an attempt takes connections, if it takes any.
pub(super) fn pool<C: Backend>(count: &CrashCount<C>, job: &Job) -> Option<u64> {
    // A counted message uses the pool when its attempt ends.
    let uses_it = !job.retries.has_lost() || count.is_counted(job);
    uses_it.then(|| count.db().pool_in_use())
}

/// Also returns whether the message's own connection, if it has one, is dead.
fn counted<C: Backend>(
    count: &CrashCount<C>,
    callback: &Blocking<C>,
    job: &Job,
    is_alone: bool,
    mut conn: Option<&mut C>,
) -> (Attempt, bool) {
    let begun = match count.is_counted(job) {
        true => count.begin_attempt(&job.payload, is_alone, conn.as_deref_mut()),
        false => Ok(()),
    };
    let (db, payload, failures) = (count.db(), &job.payload, job.retries.failures);
    let attempt = match (begun, &mut conn) {
        (Err(attempt), _) => attempt,
        (Ok(()), Some(conn)) => db.within(conn, |conn| {
            attempt::attempt_alone(db, conn, callback, payload, failures)
        }),
        (Ok(()), None) => attempt::attempt(db, callback, payload, failures),
    };
    let is_dead = matches!(attempt, Attempt::Unavailable(_))
        && conn.is_some_and(|conn| conn.is_broken() || conn.ping().is_err());
    (attempt, is_dead)
}

fn ended<C: Backend>(
    count: &CrashCount<C>,
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

/// The same for a callback whose work is not in the database. `abandoned` resolves if nobody waits for the
/// attempt any more.
pub(super) async fn attempt_external<C: Backend>(
    count: &CrashCount<C>,
    callback: &Arc<External>,
    job: &Job,
    is_alone: bool,
    abandoned: impl Future<Output = ()>,
) -> Attempt {
    let unfinished = |lost: DbError| attempt::of_database_error(lost.into());
    let db = count.db();
    let (is_counted, has_lost) = (count.is_counted(job), job.retries.has_lost());
    let mut second = None;
    if is_counted || has_lost {
        let (count, payload) = (count.clone(), job.payload.clone());
        let begun = db.on_thread(move || {
            let unavailable = |error: DbError| match error.is_busy() {
                true => Attempt::Contended(error.into()),
                false => Attempt::Unavailable(error.into()),
            };
            let mut second = has_lost
                .then(|| count.db().second_connection())
                .transpose()
                .map_err(unavailable)?;
            if is_counted && let Err(attempt) = count.begin_attempt(&payload, is_alone, None) {
                return Err(outage_check::correct(
                    count.db(),
                    second.as_mut(),
                    false,
                    attempt,
                ));
            }
            Ok(second)
        });
        match begun.await.unwrap_or_else(|lost| Err(unfinished(lost))) {
            Ok(opened) => second = opened,
            Err(attempt) => return attempt,
        }
    }
    let failures = job.retries.failures;
    let attempt = external::attempt(db, callback, &job.payload, failures, abandoned).await;
    if !is_counted && !count.is_behind() && !matches!(attempt, Attempt::Unavailable(_)) {
        return attempt;
    }
    let (own, payload) = (count.clone(), job.payload.clone());
    let corrected = db.on_thread(move || {
        // Its own connections, if any, are unknown to us.
        let attempt = outage_check::correct(own.db(), second.as_mut(), false, attempt);
        ended(&own, &payload, is_counted, attempt)
    });
    // The next attempt finds what it did.
    corrected.await.unwrap_or_else(unfinished)
}

/// Whether the attempt shows that the database works.
fn shows_the_database(attempt: &Attempt) -> bool {
    !matches!(attempt, Attempt::Unavailable(_))
}
