//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, Begun};
use crate::db::{Db, DbError};
use crate::payload::Payload;
use crate::registry::{Blocking, External};

/// When it was begun again so many times without coming to its end, a message runs alone: those that
/// died beside it are not to be counted out with it.
const SUSPICIOUS: u32 = 1;

/// The count of messages that come again. Cheap to clone.
#[derive(Debug)]
pub(super) struct Count<C: Backend> {
    db: Db<C>,
    /// How often a message may be begun again without coming to its end.
    limit: Option<u32>,
}

impl<C: Backend> Clone for Count<C> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            limit: self.limit,
        }
    }
}

impl<C: Backend> Count<C> {
    pub(super) fn new(db: Db<C>, limit: Option<u32>) -> Self {
        Self { db, limit }
    }

    /// Whether the message is one of those that are counted.
    pub(super) fn concerns(&self, job: &Job) -> bool {
        self.limit.is_some() && job.payload.is_redelivered()
    }

    /// Counts that it is begun, before anything is done with it that may end the process. The error
    /// is what comes of it without an attempt.
    fn begin_again(&self, payload: &Payload, is_alone: bool) -> Result<(), Attempt> {
        let limit = self.limit.unwrap_or(u32::MAX);
        let begun = self.db.work(|conn| {
            let (id, consumer) = (payload.msg_id(), payload.consumer());
            let begun = conn.begun(id, consumer)?;
            // Not counted before it is alone, so that it is not counted for what another one does.
            if let Begun::Before(times) = begun
                && times < limit
                && (times < SUSPICIOUS || is_alone)
            {
                conn.begin_again(id, consumer)?;
            }
            Ok(begun)
        });
        match begun {
            Err(error) => Err(inbox::hindrance(error.into())),
            Ok(Begun::Received) => Err(Attempt::Duplicate),
            Ok(Begun::Before(times)) if times >= limit => Err(Attempt::Deadly(times)),
            Ok(Begun::Before(times)) if times >= SUSPICIOUS && !is_alone => Err(Attempt::Suspect),
            Ok(Begun::Before(_)) => Ok(()),
        }
    }

    /// The attempt has come to an end, and the process is there to tell. Whether the database knows.
    fn ended(&self, payload: &Payload, attempt: &Attempt) -> bool {
        if matches!(attempt, Attempt::Done | Attempt::Duplicate) {
            return self.forget(payload);
        }
        let (id, consumer) = (payload.msg_id(), payload.consumer());
        is_done(self.db.work(|conn| conn.end_begun(id, consumer)))
    }

    /// The message has come to its end. Whether the database knows.
    pub(super) fn forget(&self, payload: &Payload) -> bool {
        let (id, consumer) = (payload.msg_id(), payload.consumer());
        is_done(self.db.work(|conn| conn.forget_begun(id, consumer)))
    }
}

fn is_done(result: Result<(), DbError>) -> bool {
    if let Err(error) = &result {
        // It goes with the old rows then.
        tracing::debug!(error = %error, "a delivery is still counted");
    }
    result.is_ok()
}

/// Tries the message once, on this thread.
pub(super) fn attempt<C: Backend>(
    count: &Count<C>,
    callback: &Blocking<C>,
    job: &mut Job,
    is_alone: bool,
) -> Attempt {
    if count.concerns(job) && !job.course.is_counted {
        if let Err(attempt) = count.begin_again(&job.payload, is_alone) {
            return attempt;
        }
        job.course.is_counted = true;
    }
    let attempt = inbox::attempt(&count.db, callback, &job.payload, job.course.failures);
    if job.course.is_counted && count.ended(&job.payload, &attempt) {
        job.course.is_counted = false;
    }
    attempt
}

/// The same for a callback whose work is not in the database.
pub(super) async fn attempt_apart<C: Backend>(
    count: &Count<C>,
    callback: &Arc<External>,
    job: &mut Job,
    is_alone: bool,
) -> Attempt {
    if count.concerns(job) && !job.course.is_counted {
        let (count, payload) = (count.clone(), job.payload.clone());
        let begun = spawn_blocking(move || count.begin_again(&payload, is_alone)).await;
        if let Err(attempt) = begun.unwrap_or_else(|lost| Err(inbox::hindrance(lost.into()))) {
            return attempt;
        }
        job.course.is_counted = true;
    }
    let failures = job.course.failures;
    let attempt = inbox::attempt_apart(&count.db, callback, &job.payload, failures).await;
    if !job.course.is_counted {
        return attempt;
    }
    let (count, payload) = (count.clone(), job.payload.clone());
    let ended = spawn_blocking(move || (count.ended(&payload, &attempt), attempt)).await;
    match ended {
        Ok((is_told, attempt)) => {
            job.course.is_counted = !is_told;
            attempt
        }
        Err(lost) => inbox::hindrance(lost.into()),
    }
}
