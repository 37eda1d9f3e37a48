//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, Begun};
use crate::db::Db;
use crate::payload::Payload;
use crate::registry::Callback;

/// From so many attempts on that did not come to their end a message runs alone: those that died
/// beside it are not to be counted out with it.
const SUSPICIOUS: u32 = 2;

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
        {
            let times = match job.course.unfinished {
                Some(times) => times,
                None => match self.begin_again(&job.payload).await {
                    Ok(times) => *job.course.unfinished.insert(times),
                    Err(attempt) => return attempt,
                },
            };
            if times > limit {
                return Attempt::Deadly(times);
            }
            if times >= SUSPICIOUS && !is_alone {
                return Attempt::Suspect;
            }
        }
        let failures = job.course.failures;
        let attempt = inbox::attempt(&self.db, &self.callback, &job.payload, failures).await;
        if job.course.unfinished.is_some() && matches!(attempt, Attempt::Done | Attempt::Duplicate)
        {
            self.forget(&job.payload).await;
        }
        attempt
    }

    /// Counts the delivery, before anything is done with it that may end the process.
    async fn begin_again(&self, payload: &Payload) -> Result<u32, Attempt> {
        let (id, consumer) = (payload.msg_id().to_owned(), payload.consumer().to_owned());
        match self
            .db
            .run(move |conn| conn.begin_again(&id, &consumer))
            .await
        {
            Ok(Begun::Again(times)) => Ok(times),
            Ok(Begun::Received) => Err(Attempt::Duplicate),
            Err(error) => Err(inbox::hindrance(error.into())),
        }
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
