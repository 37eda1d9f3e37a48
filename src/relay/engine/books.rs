//! What the database is asked for, and told.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Backend, Claimed, Verdict};
use crate::db::DbError;
use crate::relay::RelayError;
use crate::relay::outcomes::Outcomes;
use crate::relay::row::Row;

use super::Engine;

impl<C: Backend> Engine<'_, C> {
    pub(super) fn claim(&mut self) {
        let is_wanted = self.backlog.len() <= self.settings.chunk_size / 2
            && Instant::now() >= self.next_claim
            && !(self.wait_for_settled && self.is_outstanding());
        // Without a connection a claim would only keep rows from other relays.
        let is_possible = self.client.is_some()
            && self.claiming.is_none()
            && self.stopping_since.is_none()
            && !(self.once && self.drained);
        if !is_wanted || !is_possible {
            return;
        }
        self.wait_for_settled = false;
        self.woken = false;
        self.claimed_beside_others = self.is_outstanding();
        let db = self.db.clone();
        let doubtful = self.doubtful.clone();
        let scope = self.settings.scope.clone();
        let (lease, limit) = (self.settings.lease, self.settings.chunk_size);
        self.claiming = Some(Box::pin(async move {
            let token = Uuid::new_v4();
            // Read before the claim, so that our lease never ends after the database's.
            let began = Instant::now();
            let claim = move |conn: &mut C| {
                for token in doubtful {
                    conn.release_all(token)?;
                }
                conn.claim_in(&scope, token, lease, limit)
            };
            let rows = db.run(claim).await;
            (began, token, rows)
        }));
    }

    pub(super) fn claimed(
        &mut self,
        began: Instant,
        token: Uuid,
        rows: Result<Vec<Claimed>, DbError>,
    ) {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                if matches!(error, DbError::Statement(_)) {
                    self.doubtful.push(token);
                }
                return self.database_failed(error);
            }
        };
        self.doubtful.clear();
        self.database.over();
        if rows.is_empty() {
            if self.claimed_beside_others {
                self.wait_for_settled = true;
            } else {
                self.drained = true;
                // What was committed while the claim was made is not in it.
                if !self.woken {
                    self.next_claim = Instant::now() + self.settings.poll_interval;
                }
            }
            return;
        }
        tracing::debug!(rows = rows.len(), "claimed");
        let deadline = began + self.settings.lease;
        for claimed in rows {
            let expired = claimed.expired;
            let row = Row {
                claimed,
                token,
                deadline,
            };
            if expired {
                self.park(&row, Verdict::Expire, "expired".to_owned());
            } else {
                self.backlog.extend([row]);
            }
        }
    }

    pub(super) fn database_failed(&mut self, error: DbError) {
        if self.once {
            return self.fail(RelayError::Database(error));
        }
        let pause = self.database.noticed(&error);
        self.next_claim = Instant::now() + pause;
    }

    /// Gives back what was not sent.
    pub(super) fn give_back(&mut self) {
        for row in self.backlog.drain() {
            self.outcomes.released(&row);
        }
    }

    pub(super) fn settle(&mut self) {
        // Without a connection rows only keep others from sending them.
        if self.client.is_none() && !self.backlog.is_empty() {
            self.give_back();
        }
        if self.outcomes.is_empty() || self.settling.is_some() || Instant::now() < self.next_settle
        {
            return;
        }
        let db = self.db.clone();
        let outcomes = std::mem::take(&mut self.outcomes);
        self.settling_sent = outcomes.sent_count();
        self.settling = Some(Box::pin(async move {
            let shared = Arc::new(outcomes);
            let told = Arc::clone(&shared);
            let result = db.run(move |conn| told.settle(conn)).await;
            (Arc::unwrap_or_clone(shared), result)
        }));
    }

    pub(super) fn settled(&mut self, mut outcomes: Outcomes, result: Result<(), DbError>) {
        self.settling_sent = 0;
        match result {
            Ok(()) => self.database.over(),
            Err(error) => {
                // What the broker said stays known until the database has it.
                outcomes.append(std::mem::take(&mut self.outcomes));
                self.outcomes = outcomes;
                let pause = self.database.noticed(&error);
                self.next_settle = Instant::now() + pause;
                self.next_claim = self.next_claim.max(self.next_settle);
                if self.once {
                    self.fail(RelayError::Database(error));
                    self.outcomes = Outcomes::default();
                }
            }
        }
    }
}
