//! The renewal of leases while calls run in the threads that wrote them.
//!
//! One thread renews the leases of all of them on a connection of its own. It is started when the first lease is
//! held, and ends when none was held for a while. It opens no connection before a renewal is due.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Backend, CALLS, RowKey};
use crate::db::Db;
use crate::engine::renewal::{OfToken, PART_AFTER_FAILURE, RENEWALS, renew};
use crate::runtime::lease_clock;

/// How long the thread waits for more leases.
const IDLE: Duration = Duration::from_secs(10);

/// The leases that are held, and the thread that renews them.
pub(super) struct Renewals<C: Backend> {
    shared: Arc<Shared>,
    db: Db<C>,
    lease: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tokens: HashMap<Uuid, Lease>,
    has_thread: bool,
    /// When the thread looks at the leases again.
    wakes_at: Option<Instant>,
}

/// The rows under a token.
struct Lease {
    /// For each row the end of its lease by [`lease_clock`].
    rows: HashMap<RowKey, Instant>,
    /// When the next renewal is due, by the runtime's clock.
    next: Instant,
}

impl Lease {
    /// Takes over the result of a renewal. Returns the rows that another holder has.
    fn renewed(&mut self, renewed: &OfToken, ends: Instant) -> Vec<RowKey> {
        for row in &renewed.renewed {
            if let Some(end) = self.rows.get_mut(row) {
                *end = ends;
            }
        }
        // A row that has ended in the meantime is not held.
        let lost = renewed.lost.iter();
        lost.filter(|row| self.rows.remove(row).is_some())
            .copied()
            .collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until renewals are due, and returns their rows. Returns `None` if no lease was held for a while.
    fn due(&self) -> Option<Vec<(Uuid, Vec<RowKey>)>> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let Some(next) = state.tokens.values().map(|lease| lease.next).min() else {
                state.wakes_at = Some(now + IDLE);
                state = self.wait(state, IDLE);
                if state.tokens.is_empty() {
                    state.has_thread = false;
                    return None;
                }
                continue;
            };
            if next > now {
                state.wakes_at = Some(next);
                state = self.wait(state, next - now);
                continue;
            }
            state.wakes_at = Some(now);
            let due = state.tokens.iter().filter(|(_, lease)| lease.next <= now);
            let rows = due.map(|(token, lease)| (*token, lease.rows.keys().copied().collect()));
            return Some(rows.collect());
        }
    }

    fn renewed(&self, token: Uuid, renewed: &OfToken, began: Instant, lease: Duration) {
        let mut state = self.state();
        let Some(held) = state.tokens.get_mut(&token) else {
            return;
        };
        held.next = Instant::now() + lease / RENEWALS;
        let lost = held.renewed(renewed, began + lease);
        drop(state);
        for row in lost {
            tracing::warn!(
                id = %row.id,
                seq = row.seq,
                "lease lost: another process has the call, or an operator has changed it; if it was started, it \
                 may run twice"
            );
        }
    }

    fn failed(&self, token: Uuid, lease: Duration) {
        if let Some(held) = self.state().tokens.get_mut(&token) {
            held.next = Instant::now() + lease / PART_AFTER_FAILURE;
        }
    }
}

impl<C: Backend> Renewals<C> {
    pub(super) fn new(db: Db<C>, lease: Duration) -> Self {
        Self {
            shared: Arc::default(),
            db,
            lease,
        }
    }

    /// Holds no rows yet; see [`add`](Self::add). The rows of the token are held until the result is dropped.
    pub(super) fn hold(&self, token: Uuid) -> Held {
        Held {
            shared: Arc::clone(&self.shared),
            token,
            lease: self.lease,
        }
    }

    /// Renews the leases of rows, which end at this moment, until they have ended.
    pub(super) fn add(&self, held: &Held, rows: &[RowKey], ends: Instant) {
        if rows.is_empty() {
            return;
        }
        // The transaction may have taken a part of the lease.
        let left = ends.saturating_duration_since(lease_clock::now());
        let next = Instant::now() + (self.lease / RENEWALS).min(left / 2);
        let lease = Lease {
            rows: rows.iter().map(|row| (*row, ends)).collect(),
            next,
        };
        let mut state = self.shared.state();
        state.tokens.insert(held.token, lease);
        if !state.has_thread {
            state.has_thread = self.start();
        } else if state.wakes_at.is_none_or(|wakes_at| next < wakes_at) {
            self.shared.changed.notify_one();
        }
    }

    fn start(&self) -> bool {
        let (shared, db, lease) = (Arc::clone(&self.shared), self.db.clone(), self.lease);
        let thread = std::thread::Builder::new().name("outbox-leases".to_owned());
        let started = thread.spawn(move || {
            while let Some(due) = shared.due() {
                for (token, rows) in due {
                    // Read before the statement, so that no lease ends later than in the database.
                    let began = lease_clock::now();
                    match db.work(|conn| renew(conn, CALLS, token, &rows, lease)) {
                        Ok(renewed) => shared.renewed(token, &renewed, began, lease),
                        Err(error) => {
                            tracing::warn!(error = %error, "leases could not be renewed; trying again");
                            shared.failed(token, lease);
                        }
                    }
                }
            }
        });
        if let Err(error) = &started {
            tracing::error!(error = %error, "could not start a thread that renews leases; they end by themselves");
        }
        started.is_ok()
    }
}

/// Rows whose leases are renewed.
pub(super) struct Held {
    shared: Arc<Shared>,
    token: Uuid,
    lease: Duration,
}

impl Held {
    /// Whether the lease of a row has not ended. Renews the leases of all rows on this connection if it is about to
    /// end.
    pub(super) fn is_held<C: Backend>(&self, conn: &mut C, row: RowKey) -> bool {
        let began = lease_clock::now();
        let is_soon = |end: Instant| end < began + self.lease / RENEWALS;
        match self.end(row) {
            None => return false,
            Some(end) if !is_soon(end) => return true,
            Some(_) => {}
        }
        let rows: Vec<RowKey> = {
            let state = self.shared.state();
            let held = state.tokens.get(&self.token);
            held.map(|lease| lease.rows.keys().copied().collect())
                .unwrap_or_default()
        };
        match renew(conn, CALLS, self.token, &rows, self.lease) {
            Ok(renewed) => self.shared.renewed(self.token, &renewed, began, self.lease),
            Err(error) => tracing::warn!(error = %error, "leases could not be renewed"),
        }
        self.end(row).is_some_and(|end| lease_clock::now() < end)
    }

    fn end(&self, row: RowKey) -> Option<Instant> {
        let state = self.shared.state();
        state.tokens.get(&self.token)?.rows.get(&row).copied()
    }

    /// The lease of a row is not renewed any more.
    pub(super) fn ended(&self, row: RowKey) {
        if let Some(held) = self.shared.state().tokens.get_mut(&self.token) {
            held.rows.remove(&row);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.state().tokens.remove(&self.token);
    }
}
