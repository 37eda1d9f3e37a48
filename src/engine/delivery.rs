//! What is done with a claimed row, and the contract between it and the engine.
//!
//! The engine claims rows, keeps their order, retries and settles them. A [`Delivery`] receives one row at a
//! time and returns it with an [`Outcome`]. It does not use the database, and the engine does not use
//! connections.

use crate::backend::RowKey;

use super::row::Row;

/// The result of one attempt to deliver a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has confirmed this row.
    Sent,
    /// The row was delivered, and the delivery has recorded that in the database.
    Recorded,
    /// The receiver refused this row, for this reason. It counts as a failed attempt of the row.
    Refused(String),
    /// The row cannot be delivered as it is, for this reason. It is parked without another attempt.
    Unsendable(String),
    /// The receiver cannot have received the row. It is released and delivered again.
    NotSent {
        /// Whether its lease ended before the whole row was delivered. The row is left alone for a while,
        /// because it would be claimed first each time.
        is_cut_off: bool,
    },
    /// The receiver may have received the row. It is released and delivered again.
    Unknown,
    /// The database or the network failed, for this reason. The row is delivered again after a pause that
    /// grows each time; no attempt counts.
    Interrupted(String),
}

/// The answer to [`Delivery::start`].
#[derive(Debug)]
pub(crate) enum Start {
    /// The row is in flight; [`Event::Ended`] returns it.
    Started,
    /// The row goes next, but not now: an event of the delivery comes first.
    Later(Box<Row>),
    /// The attempt ended before it began.
    Ended(Box<Row>, Outcome),
}

/// What a delivery reports.
#[derive(Debug)]
pub(crate) enum Event<E> {
    /// The attempt to deliver a row has ended.
    Ended(Box<Row>, Outcome),
    /// Whether the delivery is ready, or has capacity, may have changed.
    Changed,
    /// The delivery cannot continue.
    Failed(E),
}

/// What is done with a claimed row.
///
/// Rows are started in the order in which they must arrive. After a row has ended with anything but
/// [`Outcome::Sent`], no row that was started after it, with the same key and destination, may arrive before
/// it. For a delivery that cannot promise this the settings keep one row of a key in flight.
pub(crate) trait Delivery: Send {
    /// Why the delivery cannot continue.
    type Error: Send;

    /// Opens what deliveries need, if it is neither open nor being opened. Called before each wait.
    fn open(&mut self);

    /// Whether rows can be delivered. While it is false the engine claims nothing and releases the rows
    /// that it has not started.
    fn is_ready(&self) -> bool;

    /// Whether another row can be started.
    fn has_capacity(&self) -> bool;

    /// Starts to deliver a row. Nothing of it may be delivered after [`Row::send_before`],
    /// unless leases are renewed.
    fn start(&mut self, row: Box<Row>) -> Start;

    /// The number of rows that are worth claiming at once.
    fn claim_limit(&self) -> usize {
        usize::MAX
    }

    /// The number of rows that were started and have not ended.
    fn in_flight(&self) -> usize;

    /// A row was parked and does not come back soon.
    fn forget(&mut self, row: RowKey);

    /// Waits for the next event. Safe to cancel.
    fn event(&mut self) -> impl Future<Output = Event<Self::Error>> + Send;

    /// Starts no row and opens nothing from now on. Rows in flight continue.
    fn stop(&mut self);

    /// Closes what is open.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
