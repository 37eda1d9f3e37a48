//! The numbers of messages that a subscriber has handled.

/// The numbers of messages that a subscriber has handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Messages that had their effect.
    pub done: u64,
    /// Duplicates: messages whose effect was there already.
    pub duplicates: u64,
    /// Messages that a callback discarded.
    pub discarded: u64,
    /// Messages that went to the dead letters after their attempts.
    pub dead: u64,
}

impl std::ops::AddAssign for SubscriberStats {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.duplicates += other.duplicates;
        self.discarded += other.discarded;
        self.dead += other.dead;
    }
}
