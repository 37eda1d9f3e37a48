//! The outcomes of rows until the database has them.

use std::collections::{BTreeMap, HashSet};

use diesel::QueryResult;
use uuid::Uuid;

use crate::backend::{Backend, Failure, LifecycleTable, RowKey};

use super::row::Row;

/// The outcomes of the rows of one lease, each with its ordering key.
#[derive(Debug, Clone, Default)]
struct OfLease {
    sent: Vec<(RowKey, Option<String>)>,
    failed: Vec<(Failure, Option<String>)>,
    released: Vec<(RowKey, Option<String>)>,
}

/// The outcomes of rows by the token of their lease.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes {
    leases: BTreeMap<Uuid, OfLease>,
    sent: usize,
}

/// Rows under this relay's lease that a settlement did not change.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    /// Rows that another session has locked.
    pub(crate) locked: HashSet<RowKey>,
    /// Rows that no session has locked.
    pub(crate) missed: HashSet<RowKey>,
    /// The number of rows that are no longer under this relay's lease.
    pub(crate) gone: usize,
}

impl Outcomes {
    fn of(&mut self, row: &Row) -> &mut OfLease {
        self.leases.entry(row.token).or_default()
    }

    pub(crate) fn sent(&mut self, row: &Row) {
        let outcome = (row.row(), row.key().map(str::to_owned));
        self.of(row).sent.push(outcome);
        self.sent += 1;
    }

    pub(crate) fn failed(&mut self, row: &Row, failure: Failure) {
        let key = row.key().map(str::to_owned);
        self.of(row).failed.push((failure, key));
    }

    pub(crate) fn released(&mut self, row: &Row) {
        let outcome = (row.row(), row.key().map(str::to_owned));
        self.of(row).released.push(outcome);
    }

    /// The number of sent rows.
    pub(super) fn sent_count(&self) -> usize {
        self.sent
    }

    /// The number of rows of each lease.
    pub(super) fn leases(&self) -> impl Iterator<Item = (Uuid, usize)> {
        self.leases.iter().map(|(token, of_lease)| {
            let count = of_lease.sent.len() + of_lease.failed.len() + of_lease.released.len();
            (*token, count)
        })
    }

    /// The rows, each with its ordering key and whether it was sent.
    pub(super) fn rows(&self) -> impl Iterator<Item = (RowKey, Option<&str>, bool)> {
        self.leases.values().flat_map(|of_lease| {
            let sent = of_lease.sent.iter().map(|(row, key)| (*row, key, true));
            let failed = of_lease.failed.iter();
            let failed = failed.map(|(failure, key)| (failure.row, key, false));
            let released = of_lease.released.iter();
            let released = released.map(|(row, key)| (*row, key, false));
            let all = sent.chain(failed).chain(released);
            all.map(|(row, key, was_sent)| (row, key.as_deref(), was_sent))
        })
    }

    /// The rows, each with the token of its lease.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Uuid, RowKey)> {
        self.leases.iter().flat_map(|(token, of_lease)| {
            let sent = of_lease.sent.iter().map(|(row, _)| *row);
            let failed = of_lease.failed.iter().map(|(failure, _)| failure.row);
            let released = of_lease.released.iter().map(|(row, _)| *row);
            let all = sent.chain(failed).chain(released);
            all.map(|row| (*token, row))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Adds later outcomes.
    pub(super) fn append(&mut self, later: Self) {
        for (token, mut of_lease) in later.leases {
            let known = self.leases.entry(token).or_default();
            known.sent.append(&mut of_lease.sent);
            known.failed.append(&mut of_lease.failed);
            known.released.append(&mut of_lease.released);
        }
        self.sent += later.sent;
    }

    /// Removes and returns the outcomes of these rows.
    pub(crate) fn take_out(&mut self, rows: &HashSet<RowKey>) -> Self {
        let mut out = Self::default();
        if rows.is_empty() {
            return out;
        }
        self.leases.retain(|token, of_lease| {
            let mut taken = OfLease::default();
            let is_in = |row: &RowKey| rows.contains(row);
            taken.sent = of_lease.sent.extract_if(.., |it| is_in(&it.0)).collect();
            let failed = of_lease.failed.extract_if(.., |it| is_in(&it.0.row));
            taken.failed = failed.collect();
            let released = of_lease.released.extract_if(.., |it| is_in(&it.0));
            taken.released = released.collect();
            out.sent += taken.sent.len();
            if !(taken.sent.is_empty() && taken.failed.is_empty() && taken.released.is_empty()) {
                out.leases.insert(*token, taken);
            }
            !(of_lease.sent.is_empty()
                && of_lease.failed.is_empty()
                && of_lease.released.is_empty())
        });
        self.sent -= out.sent;
        out
    }

    /// Writes the outcomes to the database. It is safe to repeat, because each statement names the lease's
    /// token and removes it.
    pub(crate) fn settle<C: Backend>(
        &self,
        conn: &mut C,
        table: LifecycleTable,
    ) -> QueryResult<Unsettled> {
        let mut unsettled = Unsettled::default();
        for (token, of_lease) in &self.leases {
            let missed = of_lease.settle(conn, table, *token)?;
            if missed.is_empty() {
                continue;
            }
            // Usually another relay has leased them, or they were settled before.
            let ours = conn.under(table, *token, &missed)?;
            if ours.len() < missed.len() {
                let gone = missed.len() - ours.len();
                unsettled.gone += gone;
                tracing::debug!(gone, "rows that are settled or under another relay's lease");
            }
            if ours.is_empty() {
                continue;
            }
            let free: HashSet<RowKey> = conn.not_locked(table, &ours)?.into_iter().collect();
            unsettled
                .locked
                .extend(ours.iter().filter(|row| !free.contains(row)));
            if free.is_empty() {
                continue;
            }
            // They may have been locked until a moment ago.
            let mut again = self.clone();
            again.leases.retain(|other, _| other == token);
            for of_lease in again.take_out(&free).leases.values() {
                let missed = of_lease.settle(conn, table, *token)?;
                let ours = conn.under(table, *token, &missed)?;
                let free: HashSet<RowKey> = conn.not_locked(table, &ours)?.into_iter().collect();
                for row in ours {
                    if free.contains(&row) {
                        unsettled.missed.insert(row);
                    } else {
                        unsettled.locked.insert(row);
                    }
                }
            }
        }
        Ok(unsettled)
    }
}

impl OfLease {
    /// Writes the outcomes to the database. Returns the rows of each statement that did not find all its rows.
    fn settle<C: Backend>(
        &self,
        conn: &mut C,
        table: LifecycleTable,
        token: Uuid,
    ) -> QueryResult<Vec<RowKey>> {
        let rows = |outcomes: &[(RowKey, Option<String>)]| -> Vec<RowKey> {
            outcomes.iter().map(|(row, _)| *row).collect()
        };
        let mut missed = Vec::new();
        let sent = rows(&self.sent);
        if conn.settle_sent(table, token, &sent)? < sent.len() {
            missed.extend(sent);
        }
        let failures: Vec<Failure> = self.failed.iter().map(|(it, _)| it.clone()).collect();
        if conn.settle_failed(table, token, &failures)? < failures.len() {
            missed.extend(failures.iter().map(|failure| failure.row));
        }
        let released = rows(&self.released);
        if conn.release(table, token, &released)? < released.len() {
            missed.extend(released);
        }
        Ok(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[tokio::test]
    async fn rows_are_taken_out_with_their_outcomes() {
        let mut outcomes = Outcomes::default();
        for seq in 1..=4 {
            outcomes.sent(&row(seq, Some("k"), "/queue/a"));
        }
        outcomes.released(&row(5, None, "/queue/a"));
        let rows = [2, 5].map(|seq| row(seq, None, "/queue/a").row());
        let out = outcomes.take_out(&HashSet::from(rows));
        let seqs = |of: &Outcomes| of.rows().map(|(row, ..)| row.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&out), [2, 5]);
        assert_eq!(seqs(&outcomes), [1, 3, 4]);
        assert_eq!((out.sent_count(), outcomes.sent_count()), (1, 3));
        outcomes.append(out);
        assert_eq!(outcomes.sent_count(), 4);
        let all: HashSet<RowKey> = outcomes.rows().map(|(row, ..)| row).collect();
        outcomes.take_out(&all);
        assert!(outcomes.is_empty());
    }
}
