//! A snapshot of what a relay does.

use super::stats::RelayStats;
use crate::status::{BrokerConnection, LastError};

/// A snapshot of a relay's state, from [`Relay::status`](super::Relay::status) or
/// [`RelayMonitor::status`](super::RelayMonitor::status).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The connection to the broker.
    pub connection: BrokerConnection,
    /// Rows that were sent and whose receipts have not arrived.
    pub in_flight: usize,
    /// Rows that the relay has claimed and not sent yet. The rows in the database are not counted.
    pub backlog: usize,
    /// The numbers of rows since the relay started.
    pub stats: RelayStats,
    /// Rows sent per second, over the last minute, or since the first row if that is less.
    pub sent_per_second: f64,
    /// The last error: of a row, of the connection to the broker, or of the database.
    pub last_error: Option<LastError>,
    /// Destinations whose circuit is open or half-open, in alphabetical order; at most 100.
    pub open_circuits: Vec<String>,
    /// The number of destinations whose circuit is open or half-open.
    pub open_circuit_count: usize,
}
