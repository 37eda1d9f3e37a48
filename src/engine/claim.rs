//! Claims: when the next one is made, which rows it covers, and its result.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::delivery::Delivery;
use crate::backend::{self, Backend, FailureAction, Freshness, LifecycleTable, Room, Scope};
use crate::db::DbError;

use super::circuit_breaker::Probe;
use super::claim_room::ClaimRoom;
use super::leases::Lease;
use super::observer::Observer;
use super::row::Row;
use super::scan_position::{Scan, ScanPosition};
use super::settings::Settings;
use super::signatures::{Checked, SignatureCheck};
use super::{Engine, EngineError, Job};

/// The result of a claim.
pub(super) struct Claim {
    lease: Lease,
    /// The tokens of earlier claims that it has released.
    released: Vec<Uuid>,
    /// The destination that it probes.
    probe: Option<Probe>,
    /// How long it took.
    took: Duration,
    result: Result<(backend::Claim, Scan, Checked), DbError>,
}

/// The claim that is being made, and when the next one is due.
pub(super) struct Claims {
    pub(super) running: Option<Job<Claim>>,
    next: Instant,
    scan: ScanPosition,
    pub(super) room: ClaimRoom,
    /// Whether the last claim was a probe.
    was_probe: bool,
    /// Whether there was news since the last claim began.
    is_woken: bool,
    /// The last claim found nothing while rows of this relay were not settled: the rows that are due may be
    /// blocked by their keys.
    waits_for_settlement: bool,
    /// Whether rows of this relay were not settled when the last claim began.
    began_beside_others: bool,
    /// Whether nothing was due at the last scan.
    is_drained: bool,
}

impl Claims {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            running: None,
            next: Instant::now(),
            scan: ScanPosition::new(),
            room: ClaimRoom::new(settings),
            was_probe: false,
            is_woken: false,
            waits_for_settlement: false,
            began_beside_others: false,
            is_drained: false,
        }
    }

    /// There may be new rows: the next claim is due.
    pub(super) fn wake(&mut self) {
        self.is_woken = true;
        self.make_due();
    }

    pub(super) fn make_due(&mut self) {
        self.next = Instant::now();
    }

    /// The next claim is not due before this moment.
    pub(super) fn postpone(&mut self, until: Instant) {
        self.next = self.next.max(until);
    }

    /// When the next claim is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether nothing was due at the last scan.
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }
}

impl<C: Backend, D: Delivery, O: Observer> Engine<'_, C, D, O> {
    /// Begins a claim if one is due.
    pub(super) fn claim(&mut self) {
        let once = self.run.is_once();
        let has_room = self.backlog.len() <= self.refill_at() && self.claims.room.has_memory();
        // Without a connection a claim would only keep rows from other relays.
        let is_possible = has_room
            && self.delivery.is_ready()
            && !self.claims.is_running()
            && !self.run.is_stopping()
            && !(once && self.claims.is_drained);
        if !is_possible {
            return;
        }
        let is_outstanding = self.is_outstanding();
        let is_due = Instant::now() >= self.claims.next
            && !(self.claims.waits_for_settlement && is_outstanding);
        // Claims and probes take turns; a relay that runs once makes its probes before it ends.
        let is_turn = is_due && self.claims.was_probe && !once;
        if !self.database.is_unreachable()
            && !is_turn
            && let Some(probe) = self.circuits.probe()
        {
            self.claims.was_probe = true;
            return self.begin_claim(Some(probe));
        }
        if is_due {
            self.claims.was_probe = false;
            self.claims.waits_for_settlement = false;
            self.claims.is_woken = false;
            self.claims.began_beside_others = is_outstanding;
            self.begin_claim(None);
        }
    }

    /// The next claim is made when no more rows than this wait. The window of a relay is filled beside them; short
    /// functions end faster than a claim takes.
    fn refill_at(&self) -> usize {
        match self.settings.renews_leases {
            true => self.claim_limit(),
            false => self.claim_limit() / 2,
        }
    }

    /// The number of rows that a claim brings at most.
    fn claim_limit(&self) -> usize {
        self.settings.chunk_size.min(self.delivery.claim_limit())
    }

    /// Claims what is due; for a probe, a few rows of its destination.
    fn begin_claim(&mut self, probe: Option<Probe>) {
        let lease = self.leases.begin(self.settings.lease);
        let released = self.leases.in_doubt();
        let mut room = self.claims.room.begin();
        room.rows = room.rows.min(self.claim_limit()).max(1);
        let mut scope = self.settings.scope.clone();
        scope.open_circuits = self.circuits.waiting();
        (scope.not_rows, scope.not_keys) = self.locked.left_alone();
        if self.settings.renews_leases {
            scope.not_rows.extend(self.renewal.seqs());
            scope.not_keys.extend(self.renewal.keys());
        } else {
            scope.own_keys = self.leases.own_keys();
            scope.own_tokens = self.leases.tokens();
        }
        if let Some(probe) = &probe {
            scope
                .open_circuits
                .retain(|other| *other != probe.destination);
            scope.destinations = vec![probe.destination.clone()];
            room.rows = self.circuits.probe_rows().min(room.rows);
        } else if !scope.has_key_rule() {
            // A row that waits before this position may not have its key yet.
            scope.from = self.claims.scan.from();
            scope.is_crowded = self.claims.scan.is_crowded();
        }
        let request = Request {
            table: self.settings.table,
            scope,
            token: lease.token,
            length: self.settings.lease,
            room,
            released: released.clone(),
            needs_certainty: self.run.is_once() && !self.claims.began_beside_others,
            asks_for_last: self.claims.scan.is_slow(),
            probe_takes_failed: probe.as_ref().map(|probe| probe.takes_failed),
            signatures: self.settings.signatures.clone(),
        };
        let db = self.db.clone();
        self.claims.running = Some(Box::pin(async move {
            let began = Instant::now();
            let result = db.run(move |conn| request.make(conn)).await;
            Claim {
                lease,
                released,
                probe,
                took: began.elapsed(),
                result,
            }
        }));
    }

    /// A claim has ended.
    pub(super) fn claimed(&mut self, claim: Claim) {
        let Claim {
            lease,
            released,
            probe,
            took,
            result,
        } = claim;
        let (claimed, scan, mut checked) = match result {
            Ok(claimed) => claimed,
            Err(error) => {
                if matches!(error, DbError::Statement(_) | DbError::Silent { .. }) {
                    self.leases.add_in_doubt(lease.token, self.settings.lease);
                }
                if let Some(probe) = probe {
                    self.circuits.undecided(&probe.destination);
                }
                return self.claim_failed(error);
            }
        };
        self.claims.room.learn(&claimed);
        let rows = claimed.rows.iter();
        let reclaimed = rows.filter(|row| row.wait.was_leased).count();
        self.metrics.claimed(took, reclaimed);
        if claimed.kept > 0 && !claimed.rows.is_empty() {
            self.leases.mark_incomplete(lease.token);
        }
        let poll_interval = self.settings.poll_interval;
        if let Some(probe) = &probe
            && claimed.found == 0
        {
            self.circuits
                .found_nothing(&probe.destination, poll_interval);
            self.show_circuits();
        }
        self.leases.released(&released);
        self.database.succeeded();
        let mut finds_more = false;
        for row in &claimed.locked {
            finds_more |= self.locked.saw(row.seq, &row.id, row.key.as_deref());
        }
        if let Some(Probe { destination, .. }) = &probe {
            self.circuits
                .probing(destination, claimed.rows.len(), poll_interval);
        } else {
            self.claims.scan.learn(scan);
            let is_nothing =
                claimed.rows.is_empty() && !finds_more && !self.claims.room.waits_for_memory();
            if is_nothing {
                return self.found_nothing(scan);
            }
        }
        tracing::debug!(
            rows = claimed.rows.len(),
            locked = claimed.locked.len(),
            probe = probe.is_some(),
            "claimed"
        );
        self.signature_warnings.warn(&checked);
        for claimed in claimed.rows {
            let expired = claimed.expired;
            let mut row = Row::new(claimed, lease, self.claims.room.memory());
            row.refusal = checked.refused.remove(&row.row());
            let may_go = self.leases.claimed(&row);
            if self.settings.renews_leases {
                self.renewal.claimed(&row);
            }
            if !may_go {
                self.release(&row);
            } else if expired {
                self.park(&row, FailureAction::Expire, "expired".to_owned());
            } else {
                self.backlog.extend([row]);
            }
        }
        // Circuits that opened while the claim was made.
        for destination in self.circuits.open() {
            self.release_destination(&destination);
        }
    }

    fn found_nothing(&mut self, scan: Scan) {
        let claims = &mut self.claims;
        if claims.began_beside_others {
            claims.waits_for_settlement = true;
            return;
        }
        let is_all = scan.from_the_beginning.is_some();
        claims.is_drained |= is_all;
        // The claim does not contain what was committed while it was made.
        if claims.is_woken {
            return;
        }
        claims.next = Instant::now() + self.settings.poll_interval;
        if let Some(retry) = self.locked.next_retry() {
            claims.next = claims.next.min(retry);
        }
        if !is_all {
            claims.next = claims.next.min(claims.scan.next_full());
        }
    }

    fn claim_failed(&mut self, error: DbError) {
        self.observer.error(&error);
        self.metrics.database_errors.count(&error);
        match self.database.failed(&error) {
            Some(pause) => self.claims.next = Instant::now() + pause,
            None => self.fail(EngineError::Database(error)),
        }
    }
}

/// What a claim asks of the database.
struct Request {
    table: LifecycleTable,
    scope: Scope,
    token: Uuid,
    length: Duration,
    room: Room,
    /// Tokens of claims whose answer was lost.
    released: Vec<Uuid>,
    /// Whether the claim has to show that nothing is due if it finds nothing. Beside rows that are not settled it
    /// cannot: rows of their keys may be due later.
    needs_certainty: bool,
    /// Whether the last row that waits is asked for.
    asks_for_last: bool,
    /// For a probe: whether it takes rows that have failed.
    probe_takes_failed: Option<bool>,
    signatures: SignatureCheck,
}

impl Request {
    /// Claims rows, and verifies their signatures.
    fn make<C: Backend>(
        mut self,
        conn: &mut C,
    ) -> diesel::QueryResult<(backend::Claim, Scan, Checked)> {
        let (claim, scan) = self.take(conn)?;
        let signatures = self.signatures.clone();
        let checked = signatures.check(conn, self.table, &self.scope, &claim.rows)?;
        Ok((claim, scan, checked))
    }

    fn take<C: Backend>(&mut self, conn: &mut C) -> diesel::QueryResult<(backend::Claim, Scan)> {
        for token in &self.released {
            conn.release_all(self.table, *token)?;
        }
        if let Some(takes_failed) = self.probe_takes_failed {
            let claim = self.probe(conn, takes_failed)?;
            let scan = Scan::new(&claim, self.room.rows, None, None);
            return Ok((claim, scan));
        }
        if self.scope.from.is_some() {
            let claim = conn.take(self.table, &self.scope, self.token, self.length, self.room)?;
            // Only a claim from the beginning shows that nothing is due.
            if !(self.needs_certainty && claim.found == 0) {
                let scan = Scan::new(&claim, self.room.rows, None, None);
                return Ok((claim, scan));
            }
            self.scope.from = None;
        }
        let last_waiting = self
            .asks_for_last
            .then(|| conn.last_waiting(self.table))
            .transpose()?;
        let began = Instant::now();
        let claim = conn.take(self.table, &self.scope, self.token, self.length, self.room)?;
        let scan = Scan::new(
            &claim,
            self.room.rows,
            Some(began.elapsed()),
            last_waiting.flatten(),
        );
        Ok((claim, scan))
    }

    /// Claims a few rows of a destination with an open circuit: some of the newest and of the oldest
    /// that have not failed; failed ones if there are no others.
    fn probe<C: Backend>(
        &mut self,
        conn: &mut C,
        takes_failed: bool,
    ) -> diesel::QueryResult<backend::Claim> {
        let mut claim = backend::Claim::default();
        let room = self.room;
        let mut kinds = vec![(Freshness::Fresh, room.rows)];
        if !self.scope.has_key_rule() && room.rows > 1 {
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
            self.scope.freshness = freshness;
            let room = Room {
                rows: rows.min(room.rows - claim.rows.len()),
                any_first: room.any_first && claim.rows.is_empty(),
                ..room
            };
            let more = conn.take(self.table, &self.scope, self.token, self.length, room)?;
            claim.rows.extend(more.rows);
            claim.locked.extend(more.locked);
            claim.too_many += more.too_many;
            claim.found += more.found;
        }
        Ok(claim)
    }
}
