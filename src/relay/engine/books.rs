//! What the database is asked for, and told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{self, Backend, Freshness, Room, Scope, Verdict};
use crate::db::DbError;
use crate::relay::RelayError;
use crate::relay::breaker::Probe;
use crate::relay::holdings::Lease;
use crate::relay::outcomes::{Outcomes, Unsettled};
use crate::relay::reach::Look;
use crate::relay::row::Row;

use super::{Claim, Engine, GATHERS};

/// Rows of the first claim, which shows how large they are.
const AT_FIRST: usize = 32;
/// How long to wait before a locked row is settled again.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

impl<C: Backend> Engine<'_, C> {
    pub(super) fn claim(&mut self) {
        let has_room = self.backlog.len() <= self.settings.chunk_size / 2 && self.has_memory();
        // Without a connection a claim would only keep rows from other relays.
        let is_possible = has_room
            && self.client.is_some()
            && self.claiming.is_none()
            && self.stopping_since.is_none()
            && !(self.once && self.drained);
        if !is_possible {
            return;
        }
        let is_wanted =
            Instant::now() >= self.next_claim && !(self.wait_for_settled && self.is_outstanding());
        // They take turns; one that runs once has made its probes before it ends.
        let is_next = is_wanted && self.was_probe && !self.once;
        if !self.database.is_on()
            && !is_next
            && let Some(probe) = self.breaker.probe()
        {
            self.was_probe = true;
            return self.begin_claim(Some(probe));
        }
        if is_wanted {
            self.was_probe = false;
            self.wait_for_settled = false;
            self.woken = false;
            self.claimed_beside_others = self.is_outstanding();
            self.begin_claim(None);
        }
    }

    /// Whether there is memory for as much as a claim may bring.
    fn has_memory(&self) -> bool {
        self.memory.is_empty() || (self.memory.room() >= self.piece() && !self.wait_for_memory)
    }

    /// Bytes that a claim brings at most: they are in memory twice while they are read.
    fn piece(&self) -> usize {
        self.settings.memory_limit / 8
    }

    /// How much a claim may bring.
    fn room(&self) -> Room {
        let at_first = self.settings.chunk_size.min(AT_FIRST);
        let fitting = self
            .mean_size
            .map_or(at_first, |size| self.piece() / size.max(1));
        Room {
            rows: fitting.clamp(1, self.settings.chunk_size),
            bytes: self.piece(),
            largest: self.settings.maximum_message_size,
            any_first: self.memory.is_empty(),
        }
    }

    /// Claims what is due; for a probe, a few rows of its destination.
    fn begin_claim(&mut self, probe: Option<Probe>) {
        let db = self.db.clone();
        let lease = self.holdings.lease(self.settings.lease);
        let given_back = self.holdings.doubtful();
        let (length, mut room) = (self.settings.lease, self.room());
        let mut scope = self.settings.scope.clone();
        scope.set_aside = self.breaker.set_aside();
        scope.own_keys = self.holdings.own_keys();
        scope.own_tokens = self.holdings.tokens();
        scope.not_rows = self.locked.rows();
        scope.not_keys = self.locked.keys();
        if let Some(probe) = &probe {
            scope.set_aside.retain(|other| *other != probe.destination);
            scope.destinations = vec![probe.destination.clone()];
            room.rows = self.breaker.probes().min(room.rows);
        } else if !scope.has_key_rule() {
            // A row that waits behind may not have its key yet.
            scope.from = self.reach.from();
        }
        self.wait_for_memory = false;
        let (once, asks_for_last) = (self.once, self.reach.is_slow());
        let takes_failed = probe.as_ref().map(|probe| probe.takes_failed);
        self.claiming = Some(Box::pin(async move {
            let Lease { token, .. } = lease;
            let tokens = given_back.clone();
            let claim = move |conn: &mut C| {
                for token in tokens {
                    conn.release_all(token)?;
                }
                if let Some(takes_failed) = takes_failed {
                    let claim = try_some(conn, &mut scope, token, length, room, takes_failed)?;
                    return Ok((claim, None, None));
                }
                if scope.from.is_some() {
                    let claim = conn.take(&scope, token, length, room)?;
                    // Only from the beginning is it known that there is nothing.
                    if !(once && claim.found == 0) {
                        return Ok((claim, None, None));
                    }
                    scope.from = None;
                }
                let last_waiting = asks_for_last.then(|| conn.last_waiting()).transpose()?;
                let began = Instant::now();
                let claim = conn.take(&scope, token, length, room)?;
                Ok((claim, Some(began.elapsed()), last_waiting.flatten()))
            };
            let result = db.run(claim).await;
            let result = result.map(|(claim, from_the_beginning, last_waiting)| {
                let look = Look::new(&claim, room.rows, from_the_beginning, last_waiting);
                (claim, look)
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
        let (rows, locked, look) = match claim.result {
            Ok((claimed, look)) => {
                self.mean_size = claimed.mean_size.or(self.mean_size);
                if claimed.kept > 0 && !claimed.rows.is_empty() {
                    self.holdings.hides(claim.lease.token);
                }
                self.wait_for_memory = claimed.rows.is_empty() && claimed.too_many > 0;
                if let Some(probe) = &claim.probe
                    && claimed.found == 0
                {
                    let pause = self.settings.poll_interval;
                    self.breaker.found_nothing(&probe.destination, pause);
                }
                (claimed.rows, claimed.locked, look)
            }
            Err(error) => {
                if matches!(error, DbError::Statement(_) | DbError::Silent { .. }) {
                    self.holdings.doubt(claim.lease.token, self.settings.lease);
                }
                if let Some(probe) = claim.probe {
                    self.breaker.undecided(&probe.destination);
                }
                return self.database_failed(error);
            }
        };
        self.holdings.given_back(&claim.given_back);
        self.database.over();
        let mut finds_more = false;
        for row in &locked {
            finds_more |= self.locked.saw(row.seq, &row.id, row.key.as_deref());
        }
        if let Some(Probe { destination, .. }) = &claim.probe {
            let pause = self.settings.poll_interval;
            self.breaker.probing(destination, rows.len(), pause);
        } else {
            self.reach.looked(look);
            if rows.is_empty() && !finds_more && !self.wait_for_memory {
                return self.found_nothing(look);
            }
        }
        tracing::debug!(
            rows = rows.len(),
            locked = locked.len(),
            probe = claim.probe.is_some(),
            "claimed"
        );
        for claimed in rows {
            let expired = claimed.expired;
            let row = Row::new(claimed, claim.lease, &self.memory);
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
        if let Some(look) = self.locked.next_look() {
            self.next_claim = self.next_claim.min(look);
        }
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
        if !self.held_back.is_empty() && Instant::now() >= self.next_try {
            self.outcomes.append(std::mem::take(&mut self.held_back));
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

    pub(super) fn settled(&mut self, mut outcomes: Outcomes, result: Result<Unsettled, DbError>) {
        self.settling_sent = 0;
        match result {
            Ok(unsettled) => {
                self.database.over();
                self.hold_back(outcomes.take_out(&unsettled.locked));
                self.given_up(&outcomes, &unsettled);
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

    /// Keeps the delivery results of rows that another session has locked.
    fn hold_back(&mut self, outcomes: Outcomes) {
        if outcomes.is_empty() {
            return;
        }
        for (row, key, _) in outcomes.rows() {
            self.locked.saw(row.seq, &row.id.to_string(), key);
        }
        self.held_back.append(outcomes);
        self.next_try = Instant::now() + LOCKED_PAUSE;
    }

    /// Rows that nobody has locked, under leases of ours, which are not recorded all the same. They
    /// would be sent at each end of a lease for ever.
    fn given_up(&mut self, outcomes: &Outcomes, unsettled: &Unsettled) {
        if unsettled.astray.is_empty() {
            return;
        }
        for (row, key, was_sent) in outcomes.rows() {
            if unsettled.astray.contains(&row) {
                tracing::error!(
                    id = %row.id,
                    seq = row.seq,
                    was_sent,
                    "the database changes nothing in this row, and says no reason, such as a \
                     trigger; this relay leaves it and the later rows of its key alone"
                );
                self.locked.lost(row.seq, key);
            }
        }
    }
}

/// Claims a few rows of a destination with an open circuit: some of the newest and of the oldest
/// that have not failed; failed ones if there are no others.
fn try_some<C: Backend>(
    conn: &mut C,
    scope: &mut Scope,
    token: uuid::Uuid,
    lease: Duration,
    room: Room,
    takes_failed: bool,
) -> diesel::QueryResult<backend::Claim> {
    let mut claim = backend::Claim::default();
    let mut kinds = vec![(Freshness::Fresh, room.rows)];
    if !scope.has_key_rule() && room.rows > 1 {
        kinds.insert(0, (Freshness::Newest, room.rows / 2));
    }
    if takes_failed {
        kinds.push((Freshness::Any, room.rows));
    }
    for (freshness, rows) in kinds {
        let has_enough = claim.rows.len() >= room.rows;
        if has_enough || (freshness == Freshness::Any && !claim.rows.is_empty()) {
            break;
        }
        scope.freshness = freshness;
        let rows = rows.min(room.rows - claim.rows.len());
        let any_first = room.any_first && claim.rows.is_empty();
        let room = Room {
            rows,
            any_first,
            ..room
        };
        let more = conn.take(scope, token, lease, room)?;
        claim.rows.extend(more.rows);
        claim.locked.extend(more.locked);
        claim.too_many += more.too_many;
        claim.found += more.found;
    }
    Ok(claim)
}
