//! What the database is asked for, and told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Backend, Verdict};
use crate::db::DbError;
use crate::relay::RelayError;
use crate::relay::holdings::Lease;
use crate::relay::outcomes::Outcomes;
use crate::relay::reach::Look;
use crate::relay::row::Row;

use super::{Claim, Engine, GATHERS};

impl<C: Backend> Engine<'_, C> {
    pub(super) fn claim(&mut self) {
        let has_room = self.backlog.len() <= self.settings.chunk_size / 2;
        // Without a connection a claim would only keep rows from other relays.
        let is_possible = has_room
            && self.client.is_some()
            && self.claiming.is_none()
            && self.stopping_since.is_none()
            && !(self.once && self.drained);
        if !is_possible {
            return;
        }
        if !self.database.is_on()
            && let Some(destination) = self.breaker.probe()
        {
            return self.begin_claim(Some(destination));
        }
        let is_wanted =
            Instant::now() >= self.next_claim && !(self.wait_for_settled && self.is_outstanding());
        if is_wanted {
            self.wait_for_settled = false;
            self.woken = false;
            self.claimed_beside_others = self.is_outstanding();
            self.begin_claim(None);
        }
    }

    /// Claims what is due; for a probe, a few rows of its destination.
    fn begin_claim(&mut self, probe: Option<String>) {
        let db = self.db.clone();
        let lease = self.holdings.lease(self.settings.lease);
        let given_back = self.holdings.doubtful();
        let (length, mut limit) = (self.settings.lease, self.settings.chunk_size);
        let mut scope = self.settings.scope.clone();
        scope.set_aside = self.breaker.set_aside();
        scope.own_keys = self.holdings.own_keys();
        scope.own_tokens = self.holdings.tokens();
        if let Some(destination) = &probe {
            scope.set_aside.retain(|other| other != destination);
            scope.destinations = vec![destination.clone()];
            limit = self.breaker.probes().min(limit);
        } else if !scope.has_key_rule() {
            // A row that waits behind may not have its key yet.
            scope.from = self.reach.from();
        }
        let (once, asks_for_last) = (self.once, self.reach.is_slow());
        self.claiming = Some(Box::pin(async move {
            let Lease { token, .. } = lease;
            let tokens = given_back.clone();
            let claim = move |conn: &mut C| {
                for token in tokens {
                    conn.release_all(token)?;
                }
                if scope.from.is_some() {
                    let rows = conn.claim_in(&scope, token, length, limit)?;
                    // Only from the beginning is it known that there is nothing.
                    if !(once && rows.is_empty()) {
                        return Ok((rows, None, None));
                    }
                    scope.from = None;
                }
                let last_waiting = asks_for_last.then(|| conn.last_waiting()).transpose()?;
                let began = Instant::now();
                let rows = conn.claim_in(&scope, token, length, limit)?;
                Ok((rows, Some(began.elapsed()), last_waiting.flatten()))
            };
            let result = db.run(claim).await;
            let result = result.map(|(rows, from_the_beginning, last_waiting)| {
                let is_full = rows.len() >= limit;
                let last = rows.last().filter(|_| is_full);
                let look = Look {
                    from_the_beginning,
                    last_waiting,
                    last_of_a_full_one: last.map(|row| row.seq),
                };
                (rows, look)
            });
            Claim {
                lease,
                given_back,
                probe,
                result,
            }
        }));
    }

    pub(super) fn claimed(&mut self, claim: Claim) {
        let Lease { token, ends } = claim.lease;
        let (rows, look) = match claim.result {
            Ok(claimed) => claimed,
            Err(error) => {
                if matches!(error, DbError::Statement(_) | DbError::Silent { .. }) {
                    self.holdings.doubt(token);
                }
                if let Some(destination) = claim.probe {
                    self.breaker.probing(&destination, 0, Duration::ZERO);
                }
                return self.database_failed(error);
            }
        };
        self.holdings.given_back(&claim.given_back);
        self.database.over();
        if let Some(destination) = &claim.probe {
            let pause = self.settings.poll_interval;
            self.breaker.probing(destination, rows.len(), pause);
        } else {
            self.reach.looked(look);
            if rows.is_empty() {
                return self.found_nothing(look);
            }
        }
        tracing::debug!(rows = rows.len(), probe = claim.probe, "claimed");
        for claimed in rows {
            let expired = claimed.expired;
            let row = Row {
                claimed,
                token,
                deadline: ends,
            };
            let may_go = self.holdings.claimed(&row);
            if !may_go {
                self.release(&row);
            } else if expired {
                self.park(&row, Verdict::Expire, "expired".to_owned());
            } else {
                self.backlog.extend([row]);
            }
        }
        // Those that were set aside while the claim was made.
        for destination in self.breaker.shut() {
            self.set_aside(&destination);
        }
    }

    fn found_nothing(&mut self, look: Look) {
        if self.claimed_beside_others {
            self.wait_for_settled = true;
            return;
        }
        let is_all = look.from_the_beginning.is_some();
        self.drained |= is_all;
        // What was committed while the claim was made is not in it.
        if self.woken {
            return;
        }
        self.next_claim = Instant::now() + self.settings.poll_interval;
        if !is_all {
            self.next_claim = self.next_claim.min(self.reach.next_full());
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
            self.not_sent(&row);
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
        let is_busy = !self.backlog.is_empty() && self.stopping_since.is_none();
        let is_little = self.outcomes.sent_count() < self.settings.window / 2;
        if is_busy && is_little && Instant::now() < self.gathers_until {
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
            Ok(()) => {
                self.database.over();
                self.holdings.settled(&outcomes);
                self.gathers_until = Instant::now() + GATHERS;
            }
            Err(error) => {
                // What the broker said stays known until the database has it.
                outcomes.append(std::mem::take(&mut self.outcomes));
                self.outcomes = outcomes;
                if self.stopping_since.is_some() && matches!(error, DbError::Silent { .. }) {
                    // A server that is silent is not worth the rest of the time.
                    tracing::warn!(
                        error = %error,
                        "what was sent could not be settled; it is sent again"
                    );
                    self.outcomes = Outcomes::default();
                    return;
                }
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
