//! What became of rows, until the database knows it.

use std::collections::BTreeMap;

use diesel::QueryResult;
use uuid::Uuid;

use crate::backend::{Backend, Failure};

use super::row::Row;

/// What became of the rows of one lease.
#[derive(Debug, Clone, Default)]
struct OfLease {
    sent: Vec<Uuid>,
    failed: Vec<Failure>,
    released: Vec<Uuid>,
}

/// What became of rows, by the token of their lease.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    leases: BTreeMap<Uuid, OfLease>,
    /// The rows' keys, and whether the row was sent.
    keys: Vec<(String, bool)>,
    sent: usize,
}

impl Outcomes {
    fn of(&mut self, row: &Row, was_sent: bool) -> &mut OfLease {
        if let Some(key) = row.key() {
            self.keys.push((key.to_owned(), was_sent));
        }
        self.leases.entry(row.token).or_default()
    }

    pub(super) fn sent(&mut self, row: &Row) {
        self.of(row, true).sent.push(row.id());
        self.sent += 1;
    }

    pub(super) fn failed(&mut self, row: &Row, failure: Failure) {
        self.of(row, false).failed.push(failure);
    }

    pub(super) fn released(&mut self, row: &Row) {
        self.of(row, false).released.push(row.id());
    }

    /// Rows that the broker has.
    pub(super) fn sent_count(&self) -> usize {
        self.sent
    }

    /// How many rows there are of each lease.
    pub(super) fn leases(&self) -> impl Iterator<Item = (Uuid, usize)> {
        self.leases.iter().map(|(token, of_lease)| {
            let count = of_lease.sent.len() + of_lease.failed.len() + of_lease.released.len();
            (*token, count)
        })
    }

    /// The rows' keys, and whether each row was sent.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, bool)> {
        self.keys
            .iter()
            .map(|(key, was_sent)| (key.as_str(), *was_sent))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Adds outcomes that came later.
    pub(super) fn append(&mut self, later: Self) {
        for (token, mut of_lease) in later.leases {
            let known = self.leases.entry(token).or_default();
            known.sent.append(&mut of_lease.sent);
            known.failed.append(&mut of_lease.failed);
            known.released.append(&mut of_lease.released);
        }
        self.keys.extend(later.keys);
        self.sent += later.sent;
    }

    /// Tells the database. It may be told again: each statement names the lease's token, which
    /// the first one takes away.
    pub(super) fn settle<C: Backend>(&self, conn: &mut C) -> QueryResult<()> {
        for (token, of_lease) in &self.leases {
            let settled = conn.settle_sent(*token, &of_lease.sent)?;
            if settled < of_lease.sent.len() {
                tracing::debug!(
                    sent = of_lease.sent.len(),
                    settled,
                    "rows were settled before, or their lease had passed to another relay"
                );
            }
            conn.settle_failed(*token, &of_lease.failed)?;
            conn.release(*token, &of_lease.released)?;
        }
        Ok(())
    }
}
