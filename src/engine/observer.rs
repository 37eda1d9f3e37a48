//! Who learns what an engine does: the log, the hooks and the status of a relay or an executor.

use std::fmt::Display;
use std::future::Future;

use super::row::Row;
use crate::metrics::ParkCause;

/// Learns the results of rows, and the state of the engine.
pub(crate) trait Observer: Send {
    /// A row was delivered.
    fn sent(&mut self, row: &Row);

    /// An attempt has failed. `is_retried`: the row is retried; otherwise [`parked`](Self::parked) follows.
    fn failed(&mut self, row: &Row, reason: &str, is_retried: bool);

    /// A row was parked.
    fn parked(&mut self, row: &Row, cause: ParkCause, reason: &str);

    /// The database failed.
    fn error(&self, error: &dyn Display);

    /// The number of rows that are in flight, and of those that were claimed and not started.
    fn load(&self, in_flight: usize, backlog: usize);

    /// The targets whose circuit is open or half-open.
    fn circuits(&self, open: Vec<String>);

    /// The engine has ended. Waits for the hooks.
    fn finish(&mut self) -> impl Future<Output = ()> + Send;
}
