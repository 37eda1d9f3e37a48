//! Rows sent to a broker over STOMP.
//!
//! Each SEND asks for a receipt, and a window of them is in flight. If the broker closes the connection
//! without an explanation, the rows that were in flight become suspects: each is sent alone, while a
//! second connection shows whether the broker itself works.

mod advice;
mod connection;
mod frame;
mod second_connection;
mod suspects;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use crate::backend::RowKey;
use crate::engine::row::Row;
use crate::metrics::{Counter, RECONNECTS, counter};
use crate::relay::monitor::RelayMonitor;
use crate::stomp::{Client, Connector, Error as StompError, NotSentReason};
use crate::traces;

use crate::engine::delivery::{Delivery, Event, Outcome, Start};
use advice::advice;
use connection::{Change, Connection};
use second_connection::SecondConnection;
use suspects::Suspects;

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How the reason of a failed attempt begins if the broker closed the connection at the row.
pub(super) const CLOSED_AT: &str = "the broker closes the connection at this message";
/// An ERROR that names its row explains a close of the connection within this time.
const EXPLANATION_VALID: Duration = Duration::from_secs(5);
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
struct SentRow {
    row: Box<Row>,
    /// Whether the row was deliberately sent with nothing else in flight.
    alone: bool,
    result: Result<(), StompError>,
    /// Whether the broker responded on the second connection, after it closed the connection with this row
    /// alone in flight.
    broker_responds: Option<bool>,
}

/// Sends rows to a broker.
pub(crate) struct StompDelivery {
    connector: Arc<Connector>,
    settings: StompSettings,
    connection: Connection,
    has_connected: bool,
    reconnects: Counter,
    in_flight: FuturesUnordered<Job<SentRow>>,
    /// Whether a suspect is in flight.
    suspect_in_flight: bool,
    suspects: Suspects,
    second: SecondConnection,
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
            reconnects: counter(RECONNECTS, &[]),
            in_flight: FuturesUnordered::new(),
            suspect_in_flight: false,
            suspects: Suspects::new(settings.window.saturating_mul(SUSPECTS_PER_ROW)),
            second: SecondConnection::default(),
            is_stopping: false,
            monitor,
        }
    }

    fn opened(&mut self, result: Result<Client, StompError>) -> Event<StompError> {
        match result {
            Ok(client) => {
                if self.has_connected {
                    self.reconnects.increment(1);
                    tracing::debug!(broker = client.server(), "connected again");
                } else {
                    tracing::info!(broker = client.server(), "connected");
                    if let Some(caveat) = client.broker().caveat() {
                        tracing::warn!(broker = client.server(), "{caveat}");
                    }
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

    fn ended(&mut self, ended: SentRow) -> Event<StompError> {
        let SentRow {
            row,
            alone,
            result,
            broker_responds,
        } = ended;
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
        match broker_responds {
            Some(true) => self.connector.reset_backoff(),
            Some(false) => self.second.close(),
            None => {}
        }
        let was_first = self.connection.ended(row.row(), result.is_ok());
        let outcome = match result {
            Ok(()) => {
                if was_first {
                    self.connector.reset_backoff();
                }
                self.suspects.clear(row.row());
                if !self.suspects.is_any() {
                    self.second.close();
                }
                Outcome::Sent
            }
            Err(error) => self.failed(&row, &error, broker_responds == Some(true)),
        };
        Event::Ended(row, outcome)
    }

    /// What an error says about its row. `is_own`: the connection was closed with this row alone in flight,
    /// and the broker works.
    fn failed(&mut self, row: &Row, error: &StompError, is_own: bool) -> Outcome {
        if error.names_receipt() {
            self.connection
                .explain_end(Instant::now() + EXPLANATION_VALID);
            return Outcome::Refused(error.to_string());
        }
        if error.is_timeout() {
            self.abandon_connection(error);
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
        if is_own {
            tracing::debug!(id = %row.id(), error = %error, "closed with this row alone in flight");
            if self.suspects.count_close(row.row()) {
                let claimed = &row.claimed;
                let frame = frame::frame(row, usize::MAX);
                let header_count = frame.map_or(0, |frame| frame.header_count());
                let length = row.body.len();
                let advice = advice(error, &claimed.destination, length, header_count);
                return Outcome::Refused(format!("{CLOSED_AT}: {error}{advice}"));
            }
        }
        if error.is_outcome_unknown() {
            Outcome::Unknown
        } else {
            Outcome::NotSent { is_cut_off: false }
        }
    }

    /// A receipt did not arrive in time. The other receipts are not waited for either.
    fn abandon_connection(&mut self, error: &StompError) {
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
            let is_final = |error: &StompError| {
                monitor.disconnected(error.to_string());
                once || (!has_connected && error.is_final())
            };
            connector.connect(is_final).await
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
        let second = self.second.client().filter(|_| is_suspect);
        if is_suspect && (!self.in_flight.is_empty() || second.is_none()) {
            if !self.is_stopping {
                self.second.open(&self.connector);
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
        let span = traces::send(session.client.broker(), row.id(), &frame);
        session.in_flight.insert(row.row());
        self.suspect_in_flight = is_suspect;
        let receipt = session.client.send(frame);
        self.in_flight.push(Box::pin(async move {
            let result = receipt.await;
            if let Err(error) = &result {
                traces::failed(&span, error.send_failure(), error);
            }
            drop(span);
            let broker_responds = match (&result, second) {
                (Err(error), Some(second)) if is_unexplained(error) => {
                    Some(second_connection::responds(&second).await)
                }
                _ => None,
            };
            SentRow {
                row,
                alone: is_suspect,
                result,
                broker_responds,
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
            Some(ended) = self.in_flight.next() => self.ended(ended),
            change = self.connection.changed() => match change {
                Change::Opened(result) => self.opened(result),
                Change::Lost(error) => {
                    self.lost(&error);
                    Event::Changed
                }
            },
            () = self.second.changed() => Event::Changed,
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.connection.cancel();
        self.second.cancel();
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
