//! How often messages that come again were begun by processes that did not come to their end.
//!
//! What is in the table `outbox_deliveries` was begun. While this process lives it takes back what
//! has ended, at once or, where the database was away then, later; so what stays is that of the dead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::{Backend, Begun};
use crate::db::{Db, DbError};
use crate::payload::Payload;

/// When it was begun again so many times without coming to its end, a message runs alone: those that
/// died beside it are not to be counted out with it.
const SUSPICIOUS: u32 = 1;

/// A message's id and its consumer.
pub(super) type Key = (String, String);

/// Where a message is that this process has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// An attempt runs.
    Running,
    /// None runs; the database does not know yet.
    Ended,
}

/// The count. Cheap to clone.
#[derive(Debug)]
pub(super) struct Count<C: Backend> {
    db: Db<C>,
    /// How often a message may be begun again without coming to its end.
    limit: Option<u32>,
    /// What this process has counted, one each, and not taken back.
    own: Arc<Mutex<HashMap<Key, Stage>>>,
}

impl<C: Backend> Clone for Count<C> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            limit: self.limit,
            own: Arc::clone(&self.own),
        }
    }
}

impl<C: Backend> Count<C> {
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

    /// Whether the message is one of those that are counted.
    pub(super) fn concerns(&self, job: &Job) -> bool {
        self.limit.is_some() && job.payload.is_redelivered()
    }

    /// Counts that it is begun, before anything is done with it that may end the process. The error
    /// is what comes of it without an attempt. `own` is the message's own connection, if it has one.
    pub(super) fn begin_again(
        &self,
        payload: &Payload,
        is_alone: bool,
        own: Option<&mut C>,
    ) -> Result<(), Attempt> {
        let limit = self.limit.unwrap_or(u32::MAX);
        // What an earlier attempt of ours could not take back counts for this one.
        if self.take_up(payload) {
            return Ok(());
        }
        let look = |conn: &mut C| {
            let (id, consumer) = (payload.msg_id(), payload.consumer());
            let begun = conn.begun(id, consumer)?;
            match begun {
                Begun::Received => conn.forget_begun(id, consumer)?,
                // Not counted before it is alone, so that it is not counted for what another one
                // does.
                Begun::Before(times) if times < limit && (times < SUSPICIOUS || is_alone) => {
                    conn.begin_again(id, consumer)?;
                }
                Begun::Before(_) => {}
            }
            Ok(begun)
        };
        let begun = match own {
            Some(conn) => self.db.within(conn, look).map_err(DbError::Statement),
            None => self.db.work(look),
        };
        match begun {
            Err(error) => Err(inbox::hindrance(error.into())),
            Ok(Begun::Received) => Err(Attempt::Duplicate),
            Ok(Begun::Before(times)) if times >= limit => Err(Attempt::Deadly(times)),
            Ok(Begun::Before(times)) if times >= SUSPICIOUS && !is_alone => Err(Attempt::Suspect),
            Ok(Begun::Before(_)) => {
                self.own().insert(key(payload), Stage::Running);
                Ok(())
            }
        }
    }

    /// The attempt has come to an end, and the process is there to tell.
    pub(super) fn ended(&self, payload: &Payload, attempt: &Attempt) {
        let key = key(payload);
        // Not counted, or taken back already because we stop.
        if self.own().remove(&key).is_none() {
            return;
        }
        let is_told = if matches!(attempt, Attempt::Done | Attempt::Duplicate) {
            self.forget(&key)
        } else {
            self.take_back(&key)
        };
        if !is_told {
            self.own().insert(key, Stage::Ended);
        }
    }

    /// The message has come to its end. Whether the database knows.
    pub(super) fn forget(&self, (id, consumer): &Key) -> bool {
        is_done(self.db.work(|conn| conn.forget_begun(id, consumer)))
    }

    /// Takes back what has ended while the database was away.
    pub(super) fn settle(&self) {
        self.take_all_back(|stage| stage == Stage::Ended);
    }

    /// Takes back all: this process ends by its own will, and leaves what still runs.
    pub(super) fn settle_all(&self) {
        self.take_all_back(|_| true);
    }

    /// Whether there is something to [`settle`](Self::settle).
    pub(super) fn is_behind(&self) -> bool {
        self.own().values().any(|stage| *stage == Stage::Ended)
    }

    fn take_all_back(&self, which: impl Fn(Stage) -> bool) {
        let mut is_there = true;
        // Nobody begins one of them meanwhile, and finds a count that is about to go.
        self.own().retain(|key, stage| {
            // One failure is enough to know that the database is away.
            if is_there && which(*stage) {
                is_there = self.take_back(key);
                return !is_there;
            }
            true
        });
    }

    fn take_back(&self, (id, consumer): &Key) -> bool {
        is_done(self.db.work(|conn| conn.end_begun(id, consumer)))
    }

    /// Whether the message is counted by an earlier attempt of ours; then it is for the next one.
    fn take_up(&self, payload: &Payload) -> bool {
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
        tracing::debug!(error = %error, "a delivery is still counted");
    }
    result.is_ok()
}
