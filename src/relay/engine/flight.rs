//! Rows on their way: sent, confirmed, refused.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Backend, Failure, Verdict};
use crate::relay::hooks::Fate;
use crate::relay::row::Row;
use crate::stomp::{Client, Error as StompError, NotSentReason};

use super::Engine;

/// An ERROR that named its row explains a close of the connection that follows so soon.
const EXPLAINS_FOR: Duration = Duration::from_secs(5);

/// A row whose receipt is awaited.
pub(super) struct Flight {
    row: Row,
    /// Whether nothing else was in flight on purpose, with a witness at hand.
    alone: bool,
}

impl<C: Backend> Engine<'_, C> {
    pub(super) fn send(&mut self) {
        loop {
            let window = if self.is_warm {
                self.settings.window
            } else {
                1
            };
            let unsettled = self.outcomes.sent_count() + self.settling_sent;
            // The second bound is that of duplicates after this process is killed.
            if self.in_flight.len() >= window
                || self.in_flight.len() + unsettled >= 2 * self.settings.window
                || self.stopping_since.is_some()
                || self.one_flies_alone
                // What was in flight on a connection that is lost may have to go first.
                || self.in_flight.len() > self.flying.len()
            {
                return;
            }
            let Some(client) = self.client.clone().filter(|client| !client.is_closed()) else {
                return;
            };
            let Some(row) = self.backlog.next() else {
                return;
            };
            let alone = self.suspects.contains(row.row());
            if alone && (!self.in_flight.is_empty() || self.witness.is_none()) {
                self.backlog.put_back(row);
                if self.witness.is_none() {
                    self.summon_witness();
                }
                return;
            }
            let frame = match row.frame(self.settings.maximum_message_size) {
                Ok(frame) => frame,
                Err(reason) => {
                    self.backlog.landed(&row);
                    let verdict = self.settings.retry.parked(&row.claimed);
                    self.park(&row, verdict, reason);
                    continue;
                }
            };
            self.flying.insert(row.row());
            self.one_flies_alone = alone;
            let receipt = client.send(frame);
            let flight = Box::new(Flight { row, alone });
            self.in_flight
                .push(Box::pin(async move { (flight, receipt.await) }));
        }
    }

    /// A receipt has come, or will not come any more.
    pub(super) async fn landed(&mut self, flight: Flight, result: Result<(), StompError>) {
        let Flight { row, alone } = &flight;
        self.backlog.landed(row);
        if *alone {
            self.one_flies_alone = false;
        }
        if let Err(error) = &result {
            // The receipts may fail before the connection is seen to be lost.
            if error.is_fate_unknown() && self.client.as_ref().is_some_and(Client::is_closed) {
                self.lost(error);
            }
        }
        self.flying.remove(&row.row());
        let error = match result {
            Ok(()) => {
                tracing::debug!(id = %row.id(), seq = row.claimed.seq, "sent");
                if !self.is_warm {
                    self.is_warm = true;
                    self.connector.is_well();
                }
                self.suspects.clear(row.row());
                self.locked.sent(row.claimed.seq);
                if self.witness.is_some() && !self.suspects.is_any() {
                    self.witness = None;
                }
                if self.breaker.succeeded(&row.claimed.destination) {
                    tracing::info!(
                        destination = row.claimed.destination,
                        "the destination works again"
                    );
                    self.next_claim = Instant::now();
                }
                self.progress.sent();
                self.teller.tell(Fate::Published, row, None);
                return self.outcomes.sent(row);
            }
            Err(error) => error,
        };
        if error.names_receipt() {
            self.explained_until = Some(Instant::now() + EXPLAINS_FOR);
            return self.own_failure(row, &error.to_string());
        }
        if error.is_timeout() {
            if let Some(client) = self.client.take() {
                tracing::warn!(
                    after = ?self.settings.receipt_timeout,
                    in_flight = self.in_flight.len() + 1,
                    "no receipt in time: the connection is given up, and the rows are sent again"
                );
                client.abort();
                self.flying.clear();
            }
            return self.release(row);
        }
        if let StompError::NotSent {
            reason: NotSentReason::Encode(_) | NotSentReason::ReservedHeader { .. },
        } = &error
        {
            // It never will.
            let verdict = self.settings.retry.parked(&row.claimed);
            return self.park(row, verdict, error.to_string());
        }
        if let StompError::NotSent {
            reason: NotSentReason::CutOff,
        } = &error
        {
            tracing::warn!(
                id = %row.id(),
                bytes = row.body.len(),
                lease = ?self.settings.lease,
                "the lease has ended before all of the row was written: the connection is closed, and \
                 the row is sent again after a pause; where the broker is not stalled, a row of this size needs a \
                 longer `lease`"
            );
            let (seq, lease) = (row.claimed.seq, self.settings.lease);
            self.locked.cut_off(seq, row.key(), lease);
        }
        if !error.is_fate_unknown() {
            // It never left: the lease has ended, or the connection was gone before.
            return self.release(row);
        }
        if *alone && !error.is_closed_by_us() && !error.is_silence() && self.is_broker_well().await
        {
            tracing::info!(id = %row.id(), error = %error, "closed with this row alone in flight");
            if self.suspects.convict(row.row()) {
                let reason = format!("the broker closes the connection at this message: {error}");
                return self.own_failure(row, &reason);
            }
        }
        self.release(row);
    }

    pub(super) fn own_failure(&mut self, row: &Row, reason: &str) {
        self.progress.failed();
        let verdict = self.settings.retry.verdict(&row.claimed);
        let destination = &row.claimed.destination;
        let is_set_aside = self
            .breaker
            .failed(destination, row.row(), row.claimed.retry);
        if is_set_aside {
            tracing::warn!(
                destination,
                pause = ?self.settings.breaker_pause,
                "the destination keeps failing: its rows wait, and some are tried after a pause"
            );
        }
        self.failed_so(row, verdict, reason);
        if is_set_aside {
            self.set_aside(destination);
        }
    }

    fn failed_so(&mut self, row: &Row, verdict: Verdict, reason: &str) {
        if !matches!(verdict, Verdict::Retry(_)) {
            return self.parked(row, verdict, reason.to_owned());
        }
        tracing::warn!(
            id = %row.id(),
            destination = row.claimed.destination,
            attempt = row.claimed.retry.saturating_add(1),
            reason,
            "not sent; it is tried again"
        );
        self.teller.tell(Fate::Failed, row, Some(reason));
        self.record(row, verdict, reason.to_owned());
    }

    /// Parks a row that could not be tried, which says nothing of its destination.
    pub(super) fn park(&mut self, row: &Row, verdict: Verdict, reason: String) {
        self.breaker.undecided(&row.claimed.destination);
        self.parked(row, verdict, reason);
    }

    fn parked(&mut self, row: &Row, verdict: Verdict, reason: String) {
        tracing::warn!(
            id = %row.id(),
            destination = row.claimed.destination,
            reason,
            "parked; `outbox retry` sends it again"
        );
        self.progress.parked();
        self.teller.tell(Fate::Parked, row, Some(&reason));
        self.suspects.clear(row.row());
        self.record(row, verdict, reason);
    }

    fn record(&mut self, row: &Row, verdict: Verdict, reason: String) {
        // The later rows of its key wait for it, unless it is out of the way.
        if let Some(key) = row
            .key()
            .filter(|_| !matches!(verdict, Verdict::Expire | Verdict::PassBy))
        {
            self.withdraw(key);
        }
        self.holdings.not_sent(row);
        let failure = Failure {
            row: row.row(),
            verdict,
            reason,
        };
        self.outcomes.failed(row, failure);
    }

    /// Gives a row back, and the later ones of its key with it.
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

    /// Notes that a row is given back.
    pub(super) fn not_sent(&mut self, row: &Row) {
        self.breaker.undecided(&row.claimed.destination);
        self.holdings.not_sent(row);
        self.outcomes.released(row);
    }

    /// Gives back the rows of a destination that is set aside, and those behind them.
    pub(super) fn set_aside(&mut self, destination: &str) {
        for row in self.backlog.set_aside(destination) {
            self.not_sent(&row);
        }
    }
}
