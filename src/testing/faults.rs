//! Faults that a test can cause.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Whether SENDs are accepted without sending their RECEIPTs.
    pub(super) withhold_receipts: bool,
    /// How many more SENDs are accepted before all connections are closed.
    pub(super) disconnect_after: Option<usize>,
    pub(super) refuse_logins: bool,
    /// SENDs to these destinations are answered with an ERROR that names the receipt.
    pub(super) rejected: BTreeSet<String>,
    /// SENDs to these destinations close the connection without an ERROR.
    pub(super) closing_destinations: BTreeSet<String>,
}
