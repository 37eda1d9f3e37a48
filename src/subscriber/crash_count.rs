//! The number of attempts at redelivered messages that ended with their process.
//!
//! The table `outbox_deliveries` counts attempts that have started. A living process takes its counts back
//! when attempts end, at once or after an outage of the database; the counts of dead processes stay.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attempt::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, RedeliveryState};
use crate::callback::Payload;
use crate::db::{Db, DbError};

/// From this count on a message runs alone, so that messages beside it are not counted for its crashes.
const ALONE_FROM: u32 = 1;

/// A message's id and its consumer.
pub(super) type Key = (String, String);

/// The stage of a message that this process has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// An attempt runs.
    Running,
    /// The attempt has ended; the count is still in the database.
    Ended,
}

/// The crash counts of a subscriber. Cheap to clone.
#[derive(Debug)]
pub(super) struct CrashCount<C: Backend> {
    db: Db<C>,
    /// The setting `delivery_limit`.
    limit: Option<u32>,
    /// Messages that this process has counted and not taken back.
    own: Arc<Mutex<HashMap<Key, Stage>>>,
}

impl<C: Backend> Clone for CrashCount<C> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            limit: self.limit,
            own: Arc::clone(&self.own),
        }
    }
}

impl<C: Backend> CrashCount<C> {
    pub(super) fn new(db: Db<C>, limit: Option<u32>) -> Self {
        Self {
            db,
            limit,
            own: Arc::default(),
        }
    }

    pub(super) fn db(&self) -> &Db<C> {
        &self.db
    }

    /// Whether the message is counted: it is a redelivery, and there is a limit.
    pub(super) fn is_counted(&self, job: &Job) -> bool {
        self.limit.is_some() && job.is_again
    }

    /// Counts an attempt, before anything that may end the process. The error is the result if there is no
    /// attempt. `own` is the message's own connection, if it has one.
    pub(super) fn begin_attempt(
        &self,
        payload: &Payload,
        is_alone: bool,
        own: Option<&mut C>,
    ) -> Result<(), Attempt> {
        let limit = self.limit.unwrap_or(u32::MAX);
        // A count that an earlier attempt could not take back is used for this one.
        if self.reuse(payload) {
            return Ok(());
        }
        let count = |conn: &mut C| {
            let (id, consumer) = (payload.msg_id(), payload.consumer());
            let state = conn.redelivery_state(id, consumer)?;
            match state {
                RedeliveryState::Handled => conn.delete_attempt_count(id, consumer)?,
                // Counted only when it runs alone, so that the crash of another message does not count.
                RedeliveryState::Started(times)
                    if times < limit && (times < ALONE_FROM || is_alone) =>
                {
                    conn.count_attempt(id, consumer)?;
                }
                RedeliveryState::Started(_) => {}
            }
            Ok(state)
        };
        let state = match own {
            Some(conn) => self.db.within(conn, count).map_err(DbError::Statement),
            None => self.db.work(count),
        };
        match state {
            Err(error) => Err(attempt::of_database_error(error.into())),
            Ok(RedeliveryState::Handled) => Err(Attempt::Duplicate),
            Ok(RedeliveryState::Started(times)) if times >= limit => {
                Err(Attempt::CrashLimit(times))
            }
            Ok(RedeliveryState::Started(times)) if times >= ALONE_FROM && !is_alone => {
                Err(Attempt::Suspect)
            }
            Ok(RedeliveryState::Started(_)) => {
                self.own().insert(key(payload), Stage::Running);
                Ok(())
            }
        }
    }

    /// The attempt has ended, and the process lives.
    pub(super) fn ended(&self, payload: &Payload, attempt: &Attempt) {
        let key = key(payload);
        // Not counted, or already taken back because we stop.
        if self.own().remove(&key).is_none() {
            return;
        }
        let is_recorded = if matches!(attempt, Attempt::Done | Attempt::Duplicate) {
            self.forget(&key)
        } else {
            self.take_back(&key)
        };
        if !is_recorded {
            self.own().insert(key, Stage::Ended);
        }
    }

    /// Deletes the count of a message that is finished. Returns whether the database did it.
    pub(super) fn forget(&self, (id, consumer): &Key) -> bool {
        is_done(self.db.work(|conn| conn.delete_attempt_count(id, consumer)))
    }

    /// Takes back the counts of attempts that ended during an outage of the database.
    pub(super) fn settle(&self) {
        self.take_back_if(|stage| stage == Stage::Ended);
    }

    /// Takes back all counts: this process ends in an orderly way and leaves what still runs.
    pub(super) fn take_back_all(&self) {
        self.take_back_if(|_| true);
    }

    /// Whether there are counts to [`settle`](Self::settle).
    pub(super) fn is_behind(&self) -> bool {
        self.own().values().any(|stage| *stage == Stage::Ended)
    }

    fn take_back_if(&self, which: impl Fn(Stage) -> bool) {
        let mut is_available = true;
        // The lock is held, so that no attempt starts with a count that is about to be deleted.
        self.own().retain(|key, stage| {
            // After one failure the database counts as not available.
            if is_available && which(*stage) {
                is_available = self.take_back(key);
                return !is_available;
            }
            true
        });
    }

    fn take_back(&self, (id, consumer): &Key) -> bool {
        is_done(self.db.work(|conn| conn.uncount_attempt(id, consumer)))
    }

    /// Whether an earlier attempt of this process left its count; the next attempt takes it over.
    fn reuse(&self, payload: &Payload) -> bool {
        match self.own().entry(key(payload)) {
            Entry::Occupied(mut stage) => {
                stage.insert(Stage::Running);
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    fn own(&self) -> MutexGuard<'_, HashMap<Key, Stage>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn key(payload: &Payload) -> Key {
    (payload.msg_id().to_owned(), payload.consumer().to_owned())
}

fn is_done(result: Result<(), DbError>) -> bool {
    if let Err(error) = &result {
        tracing::debug!(error = %error, "could not take back a crash count");
    }
    result.is_ok()
}
