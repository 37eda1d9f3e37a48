//! Rows that were in flight when the broker closed the connection without saying why.
//!
//! RabbitMQ closes without an ERROR when it rejects a message, and every receipt in flight is lost
//! with it. Which row it was shows when each is sent alone, while a second connection bears
//! witness that the broker itself is well.

use std::collections::HashMap;

use crate::backend::RowKey;

/// Closes, with a row alone in flight, that make it the row's own failure.
const PROOF: u32 = 2;

/// The suspects, and how often each was alone in flight when the connection was closed.
#[derive(Debug)]
pub(super) struct Suspects {
    closes: HashMap<RowKey, u32>,
    limit: usize,
}

impl Suspects {
    /// Keeps at most `limit` suspects in mind.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            closes: HashMap::new(),
            limit,
        }
    }

    /// Rows that were in flight together when the connection was closed.
    pub(super) fn suspect(&mut self, rows: impl IntoIterator<Item = RowKey>) {
        for row in rows {
            if self.closes.len() >= self.limit {
                // Rows that another relay has sent in the meantime never come back to clear
                // themselves. Forgetting costs a close of the connection, no message.
                self.closes.clear();
            }
            self.closes.entry(row).or_insert(0);
        }
    }

    pub(super) fn contains(&self, row: RowKey) -> bool {
        self.closes.contains_key(&row)
    }

    pub(super) fn is_any(&self) -> bool {
        !self.closes.is_empty()
    }

    /// The row was alone in flight and the connection was closed while others lived. Whether that
    /// is now its own failure.
    pub(super) fn convict(&mut self, row: RowKey) -> bool {
        let closes = self.closes.entry(row).or_insert(0);
        *closes += 1;
        // It stays suspect, so that its next attempt is made alone too.
        *closes >= PROOF && {
            *closes = 0;
            true
        }
    }

    /// The row was received, or will not be sent any more.
    pub(super) fn clear(&mut self, row: RowKey) {
        self.closes.remove(&row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_closes_alone_are_a_failure_of_the_rows_own() {
        let row = |seq| RowKey {
            seq,
            id: uuid::Uuid::nil(),
        };
        let (a, b) = (row(1), row(2));
        let mut suspects = Suspects::new(10);
        suspects.suspect([a, b]);
        suspects.clear(b);
        assert!(suspects.contains(a) && !suspects.contains(b));
        assert!(!suspects.convict(a));
        assert!(suspects.convict(a));
        assert!(suspects.contains(a), "the next attempt is made alone too");
        assert!(!suspects.convict(a));
    }
}
