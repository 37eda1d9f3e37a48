//! Settlement: the outcomes of rows on their way to the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Delivery;
use crate::backend::{Backend, Failure};
use crate::db::DbError;

use super::observer::Observer;
use super::outcomes::{Outcomes, Unsettled};
use super::row::Row;
use super::{Engine, EngineError, Job};

/// How long outcomes are gathered at most while there is more to send, or a claim may bring more.
const BATCH_PAUSE: Duration = Duration::from_millis(5);
/// Pause before a locked row is settled again.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a row that a settlement has missed is settled again: well within a lease.
const MISSED_PAUSE: Duration = Duration::from_millis(50);

/// A settlement that has ended, with its outcomes.
pub(super) type Settled = (Outcomes, Result<Unsettled, DbError>);

/// Outcomes that the database does not have yet.
pub(super) struct Settlement {
    outcomes: Outcomes,
    /// Outcomes that wait for another attempt because their rows were locked or missed.
    postponed: Outcomes,
    next_try: Instant,
    pub(super) running: Option<Job<Settled>>,
    /// Sent rows in the running settlement.
    running_sent: usize,
    next: Instant,
    /// Whether the last settlement has failed, so that the next one repeats it.
    is_repeated: bool,
    /// Outcomes are gathered until then, so that fewer transactions settle more rows.
    batch_until: Instant,
}

impl Settlement {
    pub(super) fn new() -> Self {
        Self {
            outcomes: Outcomes::default(),
            postponed: Outcomes::default(),
            next_try: Instant::now(),
            running: None,
            running_sent: 0,
            next: Instant::now(),
            is_repeated: false,
            batch_until: Instant::now(),
        }
    }

    /// A row was sent.
    pub(super) fn sent(&mut self, row: &Row) {
        self.outcomes.sent(row);
    }

    /// A row has failed, or is parked.
    pub(super) fn failed(&mut self, row: &Row, failure: Failure) {
        self.outcomes.failed(row, failure);
    }

    /// A row is released.
    pub(super) fn released(&mut self, row: &Row) {
        self.outcomes.released(row);
    }

    /// Sent rows that the database does not know of. Rows that another session has locked are not counted:
    /// they would stop all others.
    pub(super) fn unsettled_sent(&self) -> usize {
        self.outcomes.sent_count() + self.running_sent
    }

    /// Whether there are outcomes that the database does not have and that do not wait for a lock.
    pub(super) fn is_outstanding(&self) -> bool {
        !self.outcomes.is_empty() || self.running.is_some()
    }

    /// The number of rows whose outcomes wait for another attempt.
    pub(super) fn postponed_rows(&self) -> usize {
        self.postponed.rows().count()
    }

    /// The moments at which there may be something to settle.
    pub(super) fn moments(&self) -> impl Iterator<Item = Instant> {
        let next_try = (!self.postponed.is_empty()).then_some(self.next_try);
        [self.next, self.batch_until].into_iter().chain(next_try)
    }

    fn postpone(&mut self, outcomes: Outcomes, pause: Duration) {
        if !outcomes.is_empty() {
            self.postponed.append(outcomes);
            self.next_try = Instant::now() + pause;
        }
    }

    /// Takes the outcomes to settle now, if it is time. `is_busy`: more outcomes are about to come.
    /// `enough`: this many sent rows are not kept waiting for more.
    fn take_due(&mut self, is_busy: bool, enough: usize) -> Option<Outcomes> {
        let now = Instant::now();
        if !self.postponed.is_empty() && now >= self.next_try {
            self.outcomes.append(std::mem::take(&mut self.postponed));
        }
        if self.outcomes.is_empty() || self.running.is_some() || now < self.next {
            return None;
        }
        if is_busy && self.outcomes.sent_count() < enough && now < self.batch_until {
            return None;
        }
        Some(std::mem::take(&mut self.outcomes))
    }
}

impl<C: Backend, D: Delivery, O: Observer> Engine<'_, C, D, O> {
    /// Begins a settlement if there is something to settle.
    pub(super) fn settle(&mut self) {
        // Without a connection to the broker, leased rows only keep other relays from sending them.
        if !self.delivery.is_ready() && !self.backlog.is_empty() {
            self.release_backlog();
        }
        let has_more = !self.backlog.is_empty() || self.claims.is_running();
        let is_busy = has_more && !self.run.is_stopping();
        // Half of what may be delivered and not settled beside the rows in flight.
        let most = 2 * self.settings.window;
        let enough = most.saturating_sub(self.delivery.in_flight()) / 2;
        let Some(outcomes) = self.settlement.take_due(is_busy, enough) else {
            return;
        };
        let (db, table) = (self.db.clone(), self.settings.table);
        self.settlement.running_sent = outcomes.sent_count();
        self.settlement.running = Some(Box::pin(async move {
            let shared = Arc::new(outcomes);
            let settled = Arc::clone(&shared);
            let result = db.run(move |conn| settled.settle(conn, table)).await;
            (Arc::unwrap_or_clone(shared), result)
        }));
    }

    /// A settlement has ended.
    pub(super) fn settled(&mut self, (mut outcomes, result): Settled) {
        self.settlement.running_sent = 0;
        match result {
            Ok(mut unsettled) => {
                self.database.succeeded();
                if !std::mem::take(&mut self.settlement.is_repeated) {
                    self.metrics.lease_lost(unsettled.gone);
                }
                self.postpone_locked(outcomes.take_out(&unsettled.locked));
                self.try_missed_again(&mut outcomes, &mut unsettled);
                self.leave_alone(&outcomes, &unsettled);
                self.leases.settled(&outcomes);
                self.renewal.settled(&outcomes);
                self.settlement.batch_until = Instant::now() + BATCH_PAUSE;
            }
            Err(error) => self.settlement_failed(outcomes, error),
        }
    }

    fn settlement_failed(&mut self, mut outcomes: Outcomes, error: DbError) {
        self.observer.error(&error);
        self.metrics.database_errors.count(&error);
        // The statements may have been executed before their answer was lost.
        self.settlement.is_repeated = true;
        if self.run.is_stopping() && matches!(error, DbError::Silent { .. }) {
            // The remaining time is not spent on a silent server.
            tracing::warn!(
                error = %error,
                "could not record the results of rows; they are delivered again"
            );
            self.settlement.outcomes = Outcomes::default();
            return;
        }
        let Some(pause) = self.database.failed(&error) else {
            self.fail(EngineError::Database(error));
            self.settlement.outcomes = Outcomes::default();
            return;
        };
        // Outcomes are kept until the database has them.
        outcomes.append(std::mem::take(&mut self.settlement.outcomes));
        self.settlement.outcomes = outcomes;
        self.settlement.next = Instant::now() + pause;
        self.claims.postpone(self.settlement.next);
    }

    /// Postpones the outcomes of rows that another session has locked.
    fn postpone_locked(&mut self, outcomes: Outcomes) {
        for (row, key, _) in outcomes.rows() {
            self.locked.saw(row.seq, &row.id.to_string(), key);
        }
        self.settlement.postpone(outcomes, LOCKED_PAUSE);
    }

    /// Postpones the outcomes of rows that settlements have missed only a few times.
    fn try_missed_again(&mut self, outcomes: &mut Outcomes, unsettled: &mut Unsettled) {
        if !self.run.is_once() {
            let missed = std::mem::take(&mut unsettled.missed).into_iter();
            let (certain, again) = missed.partition(|row| self.locked.missed(row.seq));
            unsettled.missed = certain;
            self.settlement
                .postpone(outcomes.take_out(&again), MISSED_PAUSE);
        }
        for (row, ..) in outcomes.rows() {
            self.locked.settled(row.seq);
        }
    }

    /// Leaves rows alone that are leased by this relay, not locked, and not changed by their
    /// settlement. Otherwise they would be sent again at the end of each lease.
    fn leave_alone(&mut self, outcomes: &Outcomes, unsettled: &Unsettled) {
        if unsettled.missed.is_empty() {
            return;
        }
        for (row, key, was_sent) in outcomes.rows() {
            if unsettled.missed.contains(&row) {
                tracing::error!(
                    id = %row.id,
                    seq = row.seq,
                    was_sent,
                    "the database does not change this row and gives no reason; check for a trigger. This relay \
                     leaves it and the later rows of its key alone"
                );
                self.locked.lost(row.seq, key);
            }
        }
    }
}
