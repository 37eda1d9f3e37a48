//! The renewal of leases, for deliveries that may outlast them.
//!
//! Every third of a lease the leased rows get a new end, in one statement for each token. A row whose
//! lease could not be renewed in time is not started any more; if it was started, its fate is unknown.

use std::collections::HashMap;
use std::time::Duration;

use diesel::QueryResult;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Backend, LifecycleTable, RowKey};
use crate::db::DbError;
use crate::runtime::lease_clock;

use super::delivery::Delivery;
use super::observer::Observer;
use super::outcomes::Outcomes;
use super::row::Row;
use super::{Engine, Job};

/// Renewals in the time of a lease.
pub(crate) const RENEWALS: u32 = 3;
/// Pause before a renewal that failed is tried again, as a part of the lease.
pub(crate) const PART_AFTER_FAILURE: u32 = 20;

/// A row under a lease.
#[derive(Debug)]
struct LeasedRow {
    key: Option<String>,
    /// The end of its lease by [`lease_clock`].
    ends: Instant,
    /// Whether its outcome is known.
    is_ended: bool,
    /// Whether its token was replaced.
    is_lost: bool,
}

/// The result of the renewal of one token.
#[derive(Debug, Default)]
pub(crate) struct OfToken {
    pub(crate) renewed: Vec<RowKey>,
    pub(crate) lost: Vec<RowKey>,
}

/// The result of a renewal.
pub(super) struct Renewed {
    /// When it began, by [`lease_clock`]: leases end no earlier than their length after it.
    began: Instant,
    result: Result<HashMap<Uuid, OfToken>, DbError>,
}

/// The rows whose leases are renewed.
pub(super) struct Renewal {
    rows: HashMap<Uuid, HashMap<RowKey, LeasedRow>>,
    pub(super) running: Option<Job<Renewed>>,
    next: Instant,
}

impl Renewal {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            rows: HashMap::new(),
            running: None,
            next: Instant::now() + lease / RENEWALS,
        }
    }

    /// When the next renewal is due.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.rows.is_empty() && self.running.is_none()).then_some(self.next)
    }

    pub(super) fn claimed(&mut self, row: &Row) {
        let leased = LeasedRow {
            key: row.key().map(str::to_owned),
            ends: row.deadline,
            is_ended: false,
            is_lost: false,
        };
        self.rows
            .entry(row.token)
            .or_default()
            .insert(row.row(), leased);
    }

    fn leased(&mut self, token: Uuid, row: RowKey) -> Option<&mut LeasedRow> {
        self.rows.get_mut(&token)?.get_mut(&row)
    }

    /// The present end of a row's lease; `None` if its token was replaced.
    pub(super) fn end(&mut self, row: &Row) -> Option<Instant> {
        let leased = self.leased(row.token, row.row())?;
        (!leased.is_lost).then_some(leased.ends)
    }

    /// The outcome of a row is known; its lease is renewed until the database has it.
    pub(super) fn ended(&mut self, row: &Row) {
        if let Some(leased) = self.leased(row.token, row.row()) {
            leased.is_ended = true;
        }
    }

    /// The database has these outcomes.
    pub(super) fn settled(&mut self, outcomes: &Outcomes) {
        for (token, row) in outcomes.keys() {
            if let Some(rows) = self.rows.get_mut(&token) {
                rows.remove(&row);
                if rows.is_empty() {
                    self.rows.remove(&token);
                }
            }
        }
    }

    /// The `seq` of the rows that are leased: they are not claimed again, even if their leases have ended.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.rows
            .values()
            .flat_map(HashMap::keys)
            .map(|row| row.seq)
            .collect()
    }

    /// The keys of the leased rows.
    pub(super) fn keys(&self) -> Vec<String> {
        let leased = self.rows.values().flat_map(HashMap::values);
        let mut keys: Vec<String> = leased.filter_map(|leased| leased.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn of_tokens(&self) -> Vec<(Uuid, Vec<RowKey>)> {
        let tokens = self.rows.iter().map(|(token, rows)| {
            let ours = rows.iter().filter(|(_, leased)| !leased.is_lost);
            (*token, ours.map(|(row, _)| *row).collect::<Vec<_>>())
        });
        tokens.filter(|(_, rows)| !rows.is_empty()).collect()
    }
}

impl<C: Backend, D: Delivery, O: Observer> Engine<'_, C, D, O> {
    /// Begins a renewal if one is due.
    pub(super) fn renew(&mut self) {
        let is_due = self
            .renewal
            .next()
            .is_some_and(|next| Instant::now() >= next);
        if !self.settings.renews_leases || !is_due {
            return;
        }
        let (table, lease) = (self.settings.table, self.settings.lease);
        let tokens = self.renewal.of_tokens();
        self.renewal.next = Instant::now() + lease / RENEWALS;
        let db = self.db.clone();
        self.renewal.running = Some(Box::pin(async move {
            // Read before the statements, so that no lease ends later than in the database.
            let began = lease_clock::now();
            let renew = move |conn: &mut C| {
                let tokens = tokens.iter();
                tokens
                    .map(|(token, rows)| Ok((*token, renew(conn, table, *token, rows, lease)?)))
                    .collect()
            };
            let result = db.run(renew).await;
            Renewed { began, result }
        }));
    }

    /// A renewal has ended.
    pub(super) fn renewed(&mut self, renewed: Renewed) {
        let lease = self.settings.lease;
        let tokens = match renewed.result {
            Ok(tokens) => tokens,
            Err(error) => {
                self.observer.error(&error);
                self.metrics.database_errors.count(&error);
                tracing::warn!(error = %error, "leases could not be renewed; trying again");
                self.renewal.next = Instant::now() + lease / PART_AFTER_FAILURE;
                return;
            }
        };
        for (token, of_token) in tokens {
            for row in of_token.renewed {
                if let Some(leased) = self.renewal.leased(token, row) {
                    leased.ends = renewed.began + lease;
                }
            }
            for row in of_token.lost {
                let Some(leased) = self.renewal.leased(token, row) else {
                    continue;
                };
                leased.is_lost = true;
                // It may have been settled while the renewal ran.
                if !leased.is_ended {
                    tracing::warn!(
                        id = %row.id,
                        seq = row.seq,
                        "lease lost: another process has the row, or an operator has changed it; if it was \
                         started, it may be done twice"
                    );
                }
            }
        }
    }
}

/// Renews the lease of a token for these rows.
pub(crate) fn renew<C: Backend>(
    conn: &mut C,
    table: LifecycleTable,
    token: Uuid,
    rows: &[RowKey],
    lease: Duration,
) -> QueryResult<OfToken> {
    if conn.renew(table, token, rows, lease)? == rows.len() {
        return Ok(OfToken {
            renewed: rows.to_vec(),
            lost: Vec::new(),
        });
    }
    let ours = conn.under(table, token, rows)?;
    let lost = rows.iter().filter(|row| !ours.contains(row));
    let lost = lost.copied().collect();
    // Another session has locked the others: nobody can claim them until it ends.
    let free = conn.not_locked(table, &ours)?;
    let is_renewed = conn.renew(table, token, &free, lease)? == free.len();
    let renewed = if is_renewed { free } else { Vec::new() };
    Ok(OfToken { renewed, lost })
}
