//! The claimed rows that are not in flight, and which of them goes next.

use std::collections::{HashMap, HashSet, VecDeque};

use super::row::Row;

/// Rows in the order of `seq`, and the keys in flight.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    rows: VecDeque<Row>,
    /// For each key with rows in flight their destination and number.
    in_flight: HashMap<String, (String, usize)>,
    /// Whether one row of a key is in flight at a time.
    one_of_a_key: bool,
}

impl Backlog {
    /// `one_of_a_key`: one row of a key is in flight at a time, even if they have one destination.
    pub(super) fn new(one_of_a_key: bool) -> Self {
        Self {
            one_of_a_key,
            ..Self::default()
        }
    }

    pub(super) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The first row that may be sent now.
    ///
    /// Rows of one key are in flight together only if they have one destination, because the broker keeps their
    /// order only within it. A row that has to wait blocks the later ones of its key.
    pub(super) fn next(&mut self) -> Option<Row> {
        let mut waiting = HashSet::new();
        let position = self.rows.iter().position(|row| {
            let Some(key) = row.key() else { return true };
            let elsewhere = self.in_flight.get(key).is_some_and(|(destination, _)| {
                self.one_of_a_key || *destination != row.claimed.destination
            });
            !(waiting.contains(key) || elsewhere && waiting.insert(key))
        })?;
        let row = self.rows.remove(position)?;
        if let Some(key) = row.key() {
            let destination = row.claimed.destination.clone();
            self.in_flight
                .entry(key.to_owned())
                .or_insert((destination, 0))
                .1 += 1;
        }
        Some(row)
    }

    /// Puts a row from [`next`](Self::next) back to the front.
    pub(super) fn put_back(&mut self, row: Row) {
        self.ended(&row);
        self.rows.push_front(row);
    }

    /// Notes that a row is no longer in flight.
    pub(super) fn ended(&mut self, row: &Row) {
        let Some(key) = row.key() else { return };
        if let Some((_, count)) = self.in_flight.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(key);
            }
        }
    }

    /// Removes the rows of a key because an earlier one failed.
    pub(super) fn withdraw(&mut self, key: &str) -> Vec<Row> {
        let (withdrawn, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|row| row.key() == Some(key));
        self.rows = kept.into();
        withdrawn
    }

    /// Removes the rows of a destination, and the later ones of their keys.
    pub(super) fn withdraw_destination(&mut self, destination: &str) -> Vec<Row> {
        let mut keys = HashSet::new();
        let (withdrawn, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.rows).into_iter().partition(|row| {
                let is_behind = row.key().is_some_and(|key| keys.contains(key));
                let is_there = row.claimed.destination == destination;
                if let Some(key) = row.key().filter(|_| is_there) {
                    keys.insert(key.to_owned());
                }
                is_there || is_behind
            });
        self.rows = kept.into();
        withdrawn
    }

    /// Removes all rows.
    pub(super) fn drain(&mut self) -> VecDeque<Row> {
        std::mem::take(&mut self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    fn next(backlog: &mut Backlog) -> Option<i64> {
        backlog.next().map(|row| row.claimed.seq)
    }

    #[tokio::test]
    async fn a_key_goes_to_one_destination_at_a_time_and_in_order() {
        let mut backlog = Backlog::default();
        backlog.extend([
            row(1, Some("k"), "/queue/a"),
            row(2, Some("k"), "/queue/a"),
            row(3, Some("k"), "/queue/b"),
            row(4, Some("k"), "/queue/a"),
            row(5, Some("other"), "/queue/b"),
            row(6, None, "/queue/b"),
        ]);
        assert_eq!(next(&mut backlog), Some(1));
        assert_eq!(next(&mut backlog), Some(2));
        assert_eq!(next(&mut backlog), Some(5), "3 waits, and 4 behind it");
        assert_eq!(next(&mut backlog), Some(6));
        assert_eq!(next(&mut backlog), None);
        backlog.ended(&row(1, Some("k"), "/queue/a"));
        assert_eq!(next(&mut backlog), None);
        backlog.ended(&row(2, Some("k"), "/queue/a"));
        assert_eq!(next(&mut backlog), Some(3));
        assert_eq!(next(&mut backlog), None);
        backlog.ended(&row(3, Some("k"), "/queue/b"));
        assert_eq!(next(&mut backlog), Some(4));
        assert!(backlog.is_empty());
    }

    #[tokio::test]
    async fn one_row_of_a_key_is_in_flight_if_asked_for() {
        let mut backlog = Backlog::new(true);
        backlog.extend([
            row(1, Some("k"), "charge"),
            row(2, Some("k"), "charge"),
            row(3, None, "charge"),
        ]);
        assert_eq!(next(&mut backlog), Some(1));
        assert_eq!(next(&mut backlog), Some(3));
        assert_eq!(next(&mut backlog), None);
        backlog.ended(&row(1, Some("k"), "charge"));
        assert_eq!(next(&mut backlog), Some(2));
    }

    #[tokio::test]
    async fn a_destination_is_withdrawn_with_the_rows_behind_its_own() {
        let mut backlog = Backlog::default();
        backlog.extend([
            row(1, Some("k"), "/queue/good"),
            row(2, Some("k"), "/queue/bad"),
            row(3, Some("k"), "/queue/good"),
            row(4, Some("other"), "/queue/good"),
            row(5, None, "/queue/bad"),
        ]);
        let withdrawn = backlog.withdraw_destination("/queue/bad");
        let seqs: Vec<i64> = withdrawn.iter().map(|row| row.claimed.seq).collect();
        assert_eq!(seqs, [2, 3, 5]);
        assert_eq!((next(&mut backlog), next(&mut backlog)), (Some(1), Some(4)));
        assert!(backlog.is_empty());
    }

    #[tokio::test]
    async fn a_failed_row_withdraws_its_key_and_no_other() {
        let mut backlog = Backlog::default();
        backlog.extend([
            row(1, Some("k"), "/a"),
            row(2, None, "/a"),
            row(3, Some("k"), "/a"),
        ]);
        let seqs: Vec<i64> = backlog
            .withdraw("k")
            .iter()
            .map(|row| row.claimed.seq)
            .collect();
        assert_eq!(seqs, [1, 3]);
        assert_eq!(next(&mut backlog), Some(2));
    }
}
