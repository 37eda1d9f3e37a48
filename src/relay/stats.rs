//! What a relay did, in numbers.

/// The number of rows that a relay has sent, failed to send and parked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// Rows whose receipt the broker has sent.
    pub sent: u64,
    /// Failed attempts. Outages do not count.
    pub failed: u64,
    /// Rows that were parked because they failed, expired or cannot be sent.
    pub parked: u64,
}

impl std::ops::AddAssign for RelayStats {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.parked += other.parked;
    }
}
