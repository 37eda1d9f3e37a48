//! Rows sent to a broker over STOMP.
//!
//! Each SEND asks for a receipt, and a window of them is in flight. If the broker closes the connection
//! without an explanation, the rows that were in flight become suspects: each is sent alone, while a
//! second connection, the witness, shows whether the broker itself works.

mod advice;
mod connection;
mod frame;
mod suspects;
mod witness;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use crate::backend::RowKey;
use crate::engine::row::Row;
use crate::relay::monitor::RelayMonitor;
use crate::stomp::{Client, Connector, Error as StompError, NotSentReason};

use crate::engine::delivery::{Delivery, Event, Outcome, Start};
use advice::advice;
use connection::{Change, Connection};
use suspects::Suspects;
use witness::Witness;

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An ERROR that names its row explains a close of the connection within this time.
const EXPLAINS_FOR: Duration = Duration::from_secs(5);
/// How long the answer to a DISCONNECT may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Suspects that are remembered, for each row of the window.
const SUSPECTS_PER_ROW: usize = 16;

/// The settings of the delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StompSettings {
    /// Rows in flight at most.
    pub(crate) window: usize,
    pub(crate) maximum_message_size: usize,
    /// For the log; the client measures it.
    pub(crate) receipt_timeout: Duration,
    /// Whether the first failure to connect ends the delivery.
    pub(crate) once: bool,
}

/// A row whose receipt arrived, or will not arrive.
struct Landed {
    row: Box<Row>,
    /// Whether the row was deliberately sent with nothing else in flight.
    alone: bool,
    result: Result<(), StompError>,
    /// Whether the witness responded after the connection was closed with this row alone in flight.
    is_broker_well: Option<bool>,
}

/// Sends rows to a broker.
pub(crate) struct StompDelivery {
    connector: Arc<Connector>,
    settings: StompSettings,
    connection: Connection,
    has_connected: bool,
    in_flight: FuturesUnordered<Job<Landed>>,
    /// Whether a suspect is in flight.
    suspect_in_flight: bool,
    suspects: Suspects,
    witness: Witness,
    is_stopping: bool,
    monitor: RelayMonitor,
}

impl StompDelivery {
    pub(crate) fn new(
        connector: Connector,
        settings: StompSettings,
        monitor: RelayMonitor,
    ) -> Self {
        Self {
            connector: Arc::new(connector),
            settings,
            connection: Connection::Closed,
            has_connected: false,
            in_flight: FuturesUnordered::new(),
            suspect_in_flight: false,
            suspects: Suspects::new(settings.window.saturating_mul(SUSPECTS_PER_ROW)),
            witness: Witness::Absent,
            is_stopping: false,
            monitor,
        }
    }

    fn opened(&mut self, result: Result<Client, StompError>) -> Event<StompError> {
        match result {
            Ok(client) => {
                if self.has_connected {
                    tracing::debug!(broker = client.server(), "connected again");
                } else {
                    tracing::info!(broker = client.server(), "connected");
                }
                self.monitor.connected();
                self.connection = Connection::open(client);
                self.has_connected = true;
                Event::Changed
            }
            Err(error) => Event::Failed(error),
        }
    }

    /// The connection has ended. The receipts of rows in flight have failed or are about to.
    fn lost(&mut self, error: &StompError) {
        let Connection::Open(session) = self.connection.close() else {
            return;
        };
        self.monitor.disconnected(error.to_string());
        let is_explained = session.is_end_explained();
        if is_explained {
            self.connector.end_is_logged();
        }
        if is_explained
            || error.is_closed_by_us()
            || error.is_heartbeat_timeout()
            || session.in_flight.is_empty()
        {
            return;
        }
        if self.suspect_in_flight {
            tracing::debug!(error = %error, "the broker closed the connection with one row in flight");
        } else {
            tracing::info!(
                in_flight = session.in_flight.len(),
                error = %error,
                "the broker closed the connection; the rows in flight are sent again, one at a time"
            );
        }
        self.connector.end_is_logged();
        self.suspects.suspect(session.in_flight);
    }

    fn landed(&mut self, landed: Landed) -> Event<StompError> {
        let Landed {
            row,
            alone,
            result,
            is_broker_well,
        } = landed;
        if let Err(error) = &result
            // The receipts may fail before the end of the connection is noticed.
            && error.is_outcome_unknown()
            && self.connection.is_broken()
        {
            self.lost(error);
        }
        if alone {
            self.suspect_in_flight = false;
        }
        match is_broker_well {
            Some(true) => self.connector.reset_backoff(),
            Some(false) => self.witness = Witness::Absent,
            None => {}
        }
        let was_first = self.connection.landed(row.row(), result.is_ok());
        let outcome = match result {
            Ok(()) => {
                if was_first {
                    self.connector.reset_backoff();
                }
                self.suspects.clear(row.row());
                if !self.suspects.is_any() {
                    self.witness.dismiss();
                }
                Outcome::Sent
            }
            Err(error) => self.failed(&row, &error, is_broker_well == Some(true)),
        };
        Event::Ended(row, outcome)
    }

    /// What an error says about its row. `is_proof`: the connection was closed with this row alone in flight,
    /// and the broker works.
    fn failed(&mut self, row: &Row, error: &StompError, is_proof: bool) -> Outcome {
        if error.names_receipt() {
            self.connection.explain_end(Instant::now() + EXPLAINS_FOR);
            return Outcome::Refused(error.to_string());
        }
        if error.is_timeout() {
            self.give_up_connection(error);
        }
        if let StompError::NotSent { reason } = error {
            return match reason {
                // It will never be sendable.
                NotSentReason::Encode(_) | NotSentReason::ReservedHeader { .. } => {
                    Outcome::Unsendable(error.to_string())
                }
                reason => Outcome::NotSent {
                    is_cut_off: matches!(reason, NotSentReason::CutOff),
                },
            };
        }
        if is_proof {
            tracing::debug!(id = %row.id(), error = %error, "closed with this row alone in flight");
            if self.suspects.convict(row.row()) {
                let claimed = &row.claimed;
                let advice = advice(error, &claimed.destination, claimed.body.len());
                return Outcome::Refused(format!(
                    "the broker closes the connection at this message: {error}{advice}"
                ));
            }
        }
        if error.is_outcome_unknown() {
            Outcome::Unknown
        } else {
            Outcome::NotSent { is_cut_off: false }
        }
    }

    /// A receipt did not arrive in time. The other receipts are not waited for either.
    fn give_up_connection(&mut self, error: &StompError) {
        if let Connection::Open(session) = self.connection.close() {
            tracing::warn!(
                after = ?self.settings.receipt_timeout,
                in_flight = self.in_flight.len() + 1,
                "no receipt in time: closing the connection and sending the rows again"
            );
            self.monitor.disconnected(error.to_string());
            session.client.abort();
        }
    }
}

impl Delivery for StompDelivery {
    type Error = StompError;

    fn open(&mut self) {
        // The end of a suspect's attempt shows first whether the broker works.
        if !self.connection.is_closed() || self.is_stopping || self.suspect_in_flight {
            return;
        }
        let connector = Arc::clone(&self.connector);
        let monitor = self.monitor.clone();
        let (once, has_connected) = (self.settings.once, self.has_connected);
        self.connection = Connection::Opening(Box::pin(async move {
            // A refused login or certificate is a wrong setting at the start, and an event at the broker later.
            let give_up = |error: &StompError| {
                monitor.disconnected(error.to_string());
                once || (!has_connected && error.is_final())
            };
            connector.connect(give_up).await
        }));
    }

    fn is_ready(&self) -> bool {
        matches!(self.connection, Connection::Open(_))
    }

    fn has_capacity(&self) -> bool {
        let Connection::Open(session) = &self.connection else {
            return false;
        };
        let window = session.window(self.settings.window);
        self.in_flight.len() < window
            && !self.is_stopping
            && !self.suspect_in_flight
            // Rows in flight on a lost connection may have to go first.
            && self.in_flight.len() <= session.in_flight.len()
            && !session.client.is_closed()
    }

    fn start(&mut self, row: Box<Row>) -> Start {
        let is_suspect = self.suspects.contains(row.row());
        let witness = self.witness.client().filter(|_| is_suspect);
        if is_suspect && (!self.in_flight.is_empty() || witness.is_none()) {
            if !self.is_stopping {
                self.witness.summon(&self.connector);
            }
            return Start::Later(row);
        }
        let Connection::Open(session) = &mut self.connection else {
            return Start::Later(row);
        };
        let frame = match frame::frame(&row, self.settings.maximum_message_size) {
            Ok(frame) => frame,
            Err(reason) => return Start::Ended(row, Outcome::Unsendable(reason)),
        };
        session.in_flight.insert(row.row());
        self.suspect_in_flight = is_suspect;
        let receipt = session.client.send(frame);
        self.in_flight.push(Box::pin(async move {
            let result = receipt.await;
            let is_broker_well = match (&result, witness) {
                (Err(error), Some(witness)) if is_unexplained(error) => {
                    Some(witness::responds(&witness).await)
                }
                _ => None,
            };
            Landed {
                row,
                alone: is_suspect,
                result,
                is_broker_well,
            }
        }));
        Start::Started
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn forget(&mut self, row: RowKey) {
        self.suspects.clear(row);
    }

    async fn event(&mut self) -> Event<StompError> {
        tokio::select! {
            Some(landed) = self.in_flight.next() => self.landed(landed),
            change = self.connection.changed() => match change {
                Change::Opened(result) => self.opened(result),
                Change::Lost(error) => {
                    self.lost(&error);
                    Event::Changed
                }
            },
            () = self.witness.changed() => Event::Changed,
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.connection.cancel();
        self.witness.cancel();
    }

    async fn close(&mut self) {
        if let Connection::Open(session) = self.connection.close() {
            let _ = timeout(CLOSE_TIMEOUT, session.client.disconnect()).await;
        }
    }
}

/// Whether the broker closed the connection after a frame was written, and did not say why.
fn is_unexplained(error: &StompError) -> bool {
    error.is_outcome_unknown()
        && !error.is_timeout()
        && !error.is_closed_by_us()
        && !error.is_heartbeat_timeout()
}
