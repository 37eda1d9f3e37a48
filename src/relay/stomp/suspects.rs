//! Rows that were in flight when the broker closed the connection without saying why.
//!
//! RabbitMQ closes the connection without an ERROR when a queue rejects a message, and all receipts in flight
//! are lost. To find the row, each is sent alone, while a second connection shows that the broker works.

use std::collections::HashMap;

use crate::backend::RowKey;

/// Closed connections with a row alone in flight that count as a failed attempt of the row.
const CLOSES: u32 = 2;

/// The suspects, and how often the connection was closed with each alone in flight.
#[derive(Debug)]
pub(super) struct Suspects {
    closes: HashMap<RowKey, u32>,
    limit: usize,
}

impl Suspects {
    /// Remembers at most `limit` suspects.
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
                // Rows that another relay has sent in the meantime are never cleared. To forget suspects
                // costs a connection, and no message.
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

    /// The connection was closed with the row alone in flight, and the broker works. Returns whether that
    /// counts as a failed attempt of the row.
    pub(super) fn count_close(&mut self, row: RowKey) -> bool {
        let closes = self.closes.entry(row).or_insert(0);
        *closes += 1;
        // It stays a suspect, so that its next attempt is made alone too.
        *closes >= CLOSES && {
            *closes = 0;
            true
        }
    }

    /// The row was sent or parked.
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
        assert!(!suspects.count_close(a));
        assert!(suspects.count_close(a));
        assert!(suspects.contains(a), "the next attempt is made alone too");
        assert!(!suspects.count_close(a));
    }
}
