//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use std::sync::Arc;

use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, Begun};
use crate::db::Db;
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

    /// Whether it is to be counted that the message is begun.
    fn concerns(&self, job: &Job) -> bool {
        self.limit.is_some() && job.payload.is_redelivered() && !job.course.is_counted
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

    /// The message has come to its end.
    pub(super) fn forget(&self, payload: &Payload) {
        let (id, consumer) = (payload.msg_id(), payload.consumer());
        if let Err(error) = self.db.work(|conn| conn.forget_begun(id, consumer)) {
            // It goes with the old rows then.
            tracing::debug!(error = %error, "a delivery is still counted");
        }
    }
}

/// Whether nothing more is to be done with a message that was counted.
fn is_end(attempt: &Attempt) -> bool {
    matches!(attempt, Attempt::Done | Attempt::Duplicate)
}

/// Tries the message once, on this thread.
pub(super) fn attempt<C: Backend>(
    count: &Count<C>,
    callback: &Blocking<C>,
    job: &mut Job,
    is_alone: bool,
) -> Attempt {
    if count.concerns(job) {
        let begun = count.begin_again(&job.payload, is_alone);
        job.course.is_counted = matches!(begun, Ok(()) | Err(Attempt::Deadly(_)));
        if let Err(attempt) = begun {
            return attempt;
        }
    }
    let attempt = inbox::attempt(&count.db, callback, &job.payload, job.course.failures);
    if job.course.is_counted && is_end(&attempt) {
        count.forget(&job.payload);
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
    let blocking = |work: Box<dyn FnOnce() -> Result<(), Attempt> + Send>| async {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(Attempt::Unavailable(error.into())))
    };
    if count.concerns(job) {
        let (count, payload) = (count.clone(), job.payload.clone());
        let begin = move || count.begin_again(&payload, is_alone);
        let begun = blocking(Box::new(begin)).await;
        job.course.is_counted = matches!(begun, Ok(()) | Err(Attempt::Deadly(_)));
        if let Err(attempt) = begun {
            return attempt;
        }
    }
    let failures = job.course.failures;
    let attempt = inbox::attempt_apart(&count.db, callback, &job.payload, failures).await;
    if job.course.is_counted && is_end(&attempt) {
        let (count, payload) = (count.clone(), job.payload.clone());
        let forget = move || {
            count.forget(&payload);
            Ok(())
        };
        let _ = blocking(Box::new(forget)).await;
    }
    attempt
}
