//! What goes wrong on demand.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// SENDs are taken, and their RECEIPTs are not sent.
    pub(super) swallow_receipts: bool,
    /// So many SENDs are taken before all connections are cut.
    pub(super) cut_after: Option<usize>,
    pub(super) refuse_logins: bool,
    /// Destinations that are answered with an ERROR that names the receipt.
    pub(super) rejected: BTreeSet<String>,
    /// Destinations at which the connection is closed without a word.
    pub(super) poisonous: BTreeSet<String>,
}
