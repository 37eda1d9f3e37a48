//! Faults that a test can cause.

use std::collections::BTreeSet;

use crate::stomp::codec::Frame;

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Whether SENDs are accepted without sending their RECEIPTs.
    pub(super) withhold_receipts: bool,
    /// How many more SENDs are accepted before all connections are closed.
    pub(super) disconnect_after: Option<usize>,
    pub(super) refuse_logins: bool,
    /// SENDs to these destinations are answered with an ERROR that names the receipt.
    pub(super) rejected: BTreeSet<String>,
    /// The same for the next SEND only.
    pub(super) rejected_once: BTreeSet<String>,
    /// SENDs to these destinations close the connection without an ERROR.
    pub(super) closing_destinations: BTreeSet<String>,
    /// The maximum length of a SEND in bytes. A longer one closes the connection without an ERROR.
    pub(super) maximum_frame: Option<usize>,
}

impl Faults {
    /// Whether a SEND closes the connection without an ERROR.
    pub(super) fn closes_at(&self, destination: &str, frame: &Frame) -> bool {
        let line = |(name, value): (&str, &str)| name.len() + value.len() + ":\n".len();
        let length = frame.headers.iter().map(line).sum::<usize>() + frame.body.len();
        self.closing_destinations.contains(destination)
            || self.maximum_frame.is_some_and(|most| length > most)
    }
}
