//! Claimed rows that were not sent yet, and which of them may go next.

use std::collections::{HashMap, HashSet, VecDeque};

use super::row::Row;

/// Rows in the order of `seq`, and the keys that are on their way.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    rows: VecDeque<Row>,
    /// Keys with rows in flight: where to, and how many.
    under_way: HashMap<String, (String, usize)>,
}

impl Backlog {
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
    /// Rows of one key share the window only while they go to one destination: the broker keeps
    /// the order there. A row that has to wait holds up the later ones of its key.
    pub(super) fn next(&mut self) -> Option<Row> {
        let mut waiting = HashSet::new();
        let position = self.rows.iter().position(|row| {
            let Some(key) = row.key() else { return true };
            let elsewhere = self
                .under_way
                .get(key)
                .is_some_and(|(destination, _)| *destination != row.claimed.destination);
            !(waiting.contains(key) || elsewhere && waiting.insert(key))
        })?;
        let row = self.rows.remove(position)?;
        if let Some(key) = row.key() {
            let destination = row.claimed.destination.clone();
            self.under_way
                .entry(key.to_owned())
                .or_insert((destination, 0))
                .1 += 1;
        }
        Some(row)
    }

    /// Puts a row that [`next`](Self::next) gave back to the front.
    pub(super) fn put_back(&mut self, row: Row) {
        self.landed(&row);
        self.rows.push_front(row);
    }

    /// Notes that a row is no longer in flight.
    pub(super) fn landed(&mut self, row: &Row) {
        let Some(key) = row.key() else { return };
        if let Some((_, count)) = self.under_way.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(key);
            }
        }
    }

    /// Takes out the rows of a key, because an earlier one of them failed.
    pub(super) fn withdraw(&mut self, key: &str) -> Vec<Row> {
        let (withdrawn, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|row| row.key() == Some(key));
        self.rows = kept.into();
        withdrawn
    }

    /// Takes out the rows to a destination, and the later ones of their keys.
    pub(super) fn set_aside(&mut self, destination: &str) -> Vec<Row> {
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

    /// Takes out all rows.
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
        backlog.landed(&row(1, Some("k"), "/queue/a"));
        assert_eq!(next(&mut backlog), None);
        backlog.landed(&row(2, Some("k"), "/queue/a"));
        assert_eq!(next(&mut backlog), Some(3));
        assert_eq!(next(&mut backlog), None);
        backlog.landed(&row(3, Some("k"), "/queue/b"));
        assert_eq!(next(&mut backlog), Some(4));
        assert!(backlog.is_empty());
    }

    #[tokio::test]
    async fn a_destination_set_aside_withdraws_its_rows_and_those_behind_them() {
        let mut backlog = Backlog::default();
        backlog.extend([
            row(1, Some("k"), "/queue/good"),
            row(2, Some("k"), "/queue/bad"),
            row(3, Some("k"), "/queue/good"),
            row(4, Some("other"), "/queue/good"),
            row(5, None, "/queue/bad"),
        ]);
        let withdrawn = backlog.set_aside("/queue/bad");
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
