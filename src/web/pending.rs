//! Changes that were counted and wait for their confirmation.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::access::User;
use crate::admin::dead_letters::Selection;
use crate::admin::{Action, Matching, Rows};

/// How long a change waits for its confirmation.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// Changes that wait at the same time; the oldest one goes for a new one.
const MOST: usize = 1_000;

/// A change that was counted.
#[derive(Debug, Clone)]
pub(super) enum PendingChange {
    /// Of rows.
    Rows {
        of: Rows,
        action: Action,
        matching: Matching,
        destination: Option<String>,
        /// The filter, in words.
        filter: String,
    },
    /// Of dead letters.
    DeadLetters {
        queue: String,
        from: Option<String>,
        selection: Selection,
        total: u64,
        is_replay: bool,
        /// The selection, in words.
        filter: String,
    },
}

/// The changes that wait for their confirmation by the user who asked for them.
#[derive(Debug, Default)]
pub(super) struct PendingChanges(Mutex<HashMap<Uuid, Waiting>>);

#[derive(Debug)]
struct Waiting {
    user: User,
    since: Instant,
    change: PendingChange,
}

impl PendingChanges {
    /// Keeps a change. Returns its id.
    pub(super) fn add(&self, user: &User, change: PendingChange) -> Uuid {
        let now = Instant::now();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, it| now.duration_since(it.since) < KEPT);
        if waiting.len() >= MOST {
            let oldest = waiting.iter().min_by_key(|(_, it)| it.since);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                waiting.remove(&id);
            }
        }
        let id = Uuid::new_v4();
        waiting.insert(
            id,
            Waiting {
                user: user.clone(),
                since: now,
                change,
            },
        );
        id
    }

    /// Takes a change of this user.
    pub(super) fn take(&self, user: &User, id: &str) -> Option<PendingChange> {
        let id = Uuid::try_parse(id).ok()?;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, it| it.since.elapsed() < KEPT);
        if waiting.get(&id)?.user != *user {
            return None;
        }
        waiting.remove(&id).map(|it| it.change)
    }
}
