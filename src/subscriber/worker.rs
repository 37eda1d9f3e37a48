//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, Begun};
use crate::db::Db;
use crate::payload::Payload;
use crate::registry::Callback;

/// When it was begun again so many times without coming to its end, a message runs alone: those that
/// died beside it are not to be counted out with it.
const SUSPICIOUS: u32 = 1;

/// Cheap to clone.
#[derive(Debug)]
pub(super) struct Worker<C: Backend> {
    db: Db<C>,
    callback: Callback<C>,
    /// How often a message may be begun again without coming to its end.
    limit: Option<u32>,
}

impl<C: Backend> Clone for Worker<C> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            callback: self.callback.clone(),
            limit: self.limit,
        }
    }
}

impl<C: Backend> Worker<C> {
    pub(super) fn new(db: Db<C>, callback: Callback<C>, limit: Option<u32>) -> Self {
        Self {
            db,
            callback,
            limit,
        }
    }

    /// Tries the message once.
    pub(super) async fn attempt(&self, job: &mut Job, is_alone: bool) -> Attempt {
        if let Some(limit) = self.limit
            && job.payload.is_redelivered()
            && !job.course.is_counted
            && let Err(attempt) = self.begin_again(job, limit, is_alone).await
        {
            return attempt;
        }
        let failures = job.course.failures;
        let attempt = inbox::attempt(&self.db, &self.callback, &job.payload, failures).await;
        if job.course.is_counted && matches!(attempt, Attempt::Done | Attempt::Duplicate) {
            self.forget(&job.payload).await;
        }
        attempt
    }

    /// Counts that it is begun, before anything is done with it that may end the process.
    async fn begin_again(&self, job: &mut Job, limit: u32, is_alone: bool) -> Result<(), Attempt> {
        let of = |payload: &Payload| (payload.msg_id().to_owned(), payload.consumer().to_owned());
        let (id, consumer) = of(&job.payload);
        let begun = self.db.run(move |conn| conn.begun(&id, &consumer)).await;
        let times = match begun {
            Ok(Begun::Received) => return Err(Attempt::Duplicate),
            Ok(Begun::Before(times)) => times,
            Err(error) => return Err(inbox::hindrance(error.into())),
        };
        if times >= limit {
            job.course.is_counted = true;
            return Err(Attempt::Deadly(times));
        }
        // Not counted before it is alone, so that it is not counted for what another one does.
        if times >= SUSPICIOUS && !is_alone {
            return Err(Attempt::Suspect);
        }
        let (id, consumer) = of(&job.payload);
        let counted = self.db.run(move |conn| conn.begin_again(&id, &consumer));
        counted
            .await
            .map_err(|error| inbox::hindrance(error.into()))?;
        job.course.is_counted = true;
        Ok(())
    }

    /// The message has come to its end.
    pub(super) async fn forget(&self, payload: &Payload) {
        let (id, consumer) = (payload.msg_id().to_owned(), payload.consumer().to_owned());
        if let Err(error) = self
            .db
            .run(move |conn| conn.forget_begun(&id, &consumer))
            .await
        {
            // It goes with the old rows then.
            tracing::debug!(error = %error, "a delivery is still counted");
        }
    }
}
