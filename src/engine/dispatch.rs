//! Dispatch: rows to the delivery, and what their outcomes mean.

use tokio::time::Instant;

use crate::backend::{Backend, Failure, FailureAction};
use crate::metrics::ParkCause;
use crate::runtime::lease_clock;

use super::Engine;
use super::delivery::{Delivery, Outcome, Start};
use super::observer::Observer;
use super::outcomes::Outcomes;
use super::row::Row;
use super::signatures::Refusal;

impl<C: Backend, D: Delivery, O: Observer> Engine<'_, C, D, O> {
    /// Starts as many rows as may be in flight.
    pub(super) fn dispatch(&mut self) {
        loop {
            // The bound of duplicates after this process is killed.
            let unconfirmed = self.delivery.in_flight() + self.settlement.unsettled_sent();
            if self.run.is_stopping()
                || unconfirmed >= 2 * self.settings.window
                || !self.delivery.has_capacity()
            {
                return;
            }
            let Some(mut row) = self.backlog.next() else {
                return;
            };
            if let Some(refusal) = row.refusal.take() {
                self.refused(&row, &refusal);
                continue;
            }
            if self.settings.renews_leases && !self.extend(&mut row) {
                self.backlog.ended(&row);
                self.release(&row);
                continue;
            }
            row.started = Some(Instant::now());
            match self.delivery.start(Box::new(row)) {
                Start::Started => {}
                Start::Later(row) => return self.backlog.put_back(*row),
                Start::Ended(row, outcome) => self.ended(&row, outcome),
            }
        }
    }

    /// Gives a row the present end of its lease. Returns false if that has passed.
    fn extend(&mut self, row: &mut Row) -> bool {
        let Some(end) = self.renewal.end(row) else {
            return false;
        };
        row.deadline = end;
        lease_clock::now() < end
    }

    /// The attempt to deliver a row has ended.
    pub(super) fn ended(&mut self, row: &Row, outcome: Outcome) {
        self.backlog.ended(row);
        self.renewal.ended(row);
        if !matches!(outcome, Outcome::Interrupted(_)) {
            self.hindrances.over(row.row());
        }
        match outcome {
            Outcome::Sent => {
                self.sent(row);
                self.settlement.sent(row);
            }
            Outcome::Recorded => {
                self.sent(row);
                let mut recorded = Outcomes::default();
                recorded.sent(row);
                self.leases.settled(&recorded);
                self.renewal.settled(&recorded);
                // Later rows of its key may be due.
                if row.key().is_some() {
                    self.claims.make_due();
                }
            }
            Outcome::Interrupted(reason) => self.interrupted(row, reason),
            Outcome::Refused(reason) => self.failed(row, &reason),
            Outcome::Unsendable(reason) => {
                let action = self.settings.retry.parked(&row.claimed);
                self.park(row, action, reason);
            }
            Outcome::NotSent { is_cut_off } => {
                if is_cut_off {
                    self.cut_off(row);
                }
                self.release(row);
            }
            Outcome::Unknown => self.release(row),
        }
    }

    /// The row's signature was verified, and the row is not delivered.
    fn refused(&mut self, row: &Row, refusal: &Refusal) {
        match refusal {
            Refusal::Invalid(reason) => self.ended(row, Outcome::Unsendable(reason.clone())),
            Refusal::NotDue(due) => {
                let reason = refusal.reason();
                tracing::warn!(id = %row.id(), reason, "not sent yet");
                self.backlog.ended(row);
                self.circuits.undecided(&row.claimed.destination);
                self.metrics.deferred();
                self.record(row, FailureAction::NotBefore(*due), reason);
            }
        }
    }

    fn sent(&mut self, row: &Row) {
        let destination = &row.claimed.destination;
        self.locked.sent(row.claimed.seq);
        if self.circuits.succeeded(destination) {
            tracing::info!(destination, "circuit closed: the destination works again");
            self.claims.make_due();
            self.show_circuits();
        }
        self.observer.sent(row);
    }

    /// The database or the network failed during the delivery of a row.
    fn interrupted(&mut self, row: &Row, reason: String) {
        let pause = self.hindrances.pause(row.row());
        tracing::warn!(
            id = %row.id(),
            target = row.claimed.destination,
            reason,
            ?pause,
            "interrupted by the database or the network; retrying, and no attempt counts"
        );
        self.observer.error(&reason);
        self.metrics.deferred();
        self.record(row, FailureAction::Postpone(pause), reason);
    }

    /// The lease ended before the row was delivered.
    fn cut_off(&mut self, row: &Row) {
        let lease = self.settings.lease;
        tracing::warn!(
            id = %row.id(),
            bytes = row.body.len(),
            ?lease,
            "the lease has ended before all of the row was written; the row is sent again after a pause. \
             If the broker is not stalled, a row of this size needs a longer `lease`"
        );
        self.locked.cut_off(row.claimed.seq, row.key(), lease);
    }

    /// An attempt has failed by the row's own fault.
    fn failed(&mut self, row: &Row, reason: &str) {
        let action = self.settings.retry.action(&row.claimed);
        let is_retried = matches!(action, FailureAction::Retry(_));
        self.observer.failed(row, reason, is_retried);
        let destination = &row.claimed.destination;
        let opens = self
            .circuits
            .failed(destination, row.row(), row.claimed.retry);
        if opens {
            tracing::warn!(
                destination,
                pause = ?self.settings.breaker_pause,
                "circuit open: the destination keeps failing, its rows wait, and some are tried after a pause"
            );
            self.show_circuits();
        }
        if is_retried {
            self.record(row, action, reason.to_owned());
        } else {
            self.parked(row, ParkCause::Exhausted, action, reason.to_owned());
        }
        if opens {
            self.release_destination(destination);
        }
    }

    /// Parks a row that was not tried, which says nothing about its destination.
    pub(super) fn park(&mut self, row: &Row, action: FailureAction, reason: String) {
        self.circuits.undecided(&row.claimed.destination);
        let cause = match action {
            FailureAction::Expire => ParkCause::Expired,
            _ => ParkCause::Unsendable,
        };
        self.parked(row, cause, action, reason);
    }

    fn parked(&mut self, row: &Row, cause: ParkCause, action: FailureAction, reason: String) {
        self.observer.parked(row, cause, &reason);
        self.delivery.forget(row.row());
        self.record(row, action, reason);
    }

    fn record(&mut self, row: &Row, action: FailureAction, reason: String) {
        // It blocks the later rows of its key, unless its action lets the key continue.
        if let Some(key) = row
            .key()
            .filter(|_| !matches!(action, FailureAction::Expire | FailureAction::ParkAndSkip))
        {
            self.withdraw(key);
        }
        self.leases.not_sent(row);
        let failure = Failure {
            row: row.row(),
            action,
            reason,
        };
        self.settlement.failed(row, failure);
    }

    /// Releases a row and the later ones of its key.
    pub(super) fn release(&mut self, row: &Row) {
        if let Some(key) = row.key() {
            self.withdraw(key);
        }
        self.not_sent(row);
    }

    fn withdraw(&mut self, key: &str) {
        for later in self.backlog.withdraw(key) {
            self.not_sent(&later);
        }
    }

    /// Releases the rows that were not started.
    pub(super) fn release_backlog(&mut self) {
        for row in self.backlog.drain() {
            self.not_sent(&row);
        }
    }

    /// Releases the rows of a destination, and the later ones of their keys.
    pub(super) fn release_destination(&mut self, destination: &str) {
        for row in self.backlog.withdraw_destination(destination) {
            self.not_sent(&row);
        }
    }

    fn not_sent(&mut self, row: &Row) {
        self.metrics.deferred();
        self.circuits.undecided(&row.claimed.destination);
        self.leases.not_sent(row);
        self.renewal.ended(row);
        self.settlement.released(row);
    }

    /// Shows the open circuits in the status.
    pub(super) fn show_circuits(&mut self) {
        let waiting = self.circuits.waiting();
        self.metrics.circuits(&waiting);
        self.observer.circuits(waiting);
    }
}
