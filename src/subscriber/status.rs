//! A snapshot of what a subscriber does.

use super::stats::SubscriberStats;
use crate::status::{BrokerConnection, LastError};

/// A snapshot of a subscriber's state, from [`Subscriber::status`](super::Subscriber::status) or
/// [`SubscriberMonitor::status`](super::SubscriberMonitor::status).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SubscriberStatus {
    /// The connection to the broker.
    pub connection: BrokerConnection,
    /// Messages that were received and are not finished: those that run, and those that wait for a
    /// worker, for an earlier message of their key or for their next attempt.
    pub unfinished: usize,
    /// Messages that workers have.
    pub running: usize,
    /// The numbers of messages since the subscriber started.
    pub stats: SubscriberStats,
    /// Messages handled per second (duplicates, discarded and dead ones included), over the last minute,
    /// or since the first message if that is less.
    pub handled_per_second: f64,
    /// The last error: of a callback, of the connection to the broker, or of the database.
    pub last_error: Option<LastError>,
}
