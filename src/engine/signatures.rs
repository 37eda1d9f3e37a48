//! The signatures of claimed rows, which are verified before anything is done with a row.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Backend, Claimed, LifecycleTable, RowKey, Scope};
use crate::config::{Config, VerifySignatures};
use crate::signing::{Fields, Keys};

/// The least time between two warnings about rows without a valid signature.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// Why a row is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no valid signature.
    Invalid(String),
    /// Its signature is valid, and the time before which it is not sent was not reached.
    NotDue(DateTime<Utc>),
}

/// How signatures are verified.
#[derive(Debug, Clone)]
pub(crate) struct SignatureCheck {
    verify: VerifySignatures,
    /// Without keys no signature is valid.
    keys: Option<Keys>,
}

/// The rows of a claim that are not as they were signed.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The rows that are not delivered.
    pub(crate) refused: HashMap<RowKey, Refusal>,
    /// The rows that are delivered with a warning: their number, and the first one with its reason.
    unverified: usize,
    example: Option<(Uuid, String)>,
}

impl SignatureCheck {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            verify: config.verify_signatures,
            keys: config.keys_of_signatures(),
        }
    }

    /// Verifies claimed rows. `scope` has the rules by which the claim may have given them their keys.
    pub(crate) fn check<C: Backend>(
        &self,
        conn: &mut C,
        table: LifecycleTable,
        scope: &Scope,
        rows: &[Claimed],
    ) -> QueryResult<Checked> {
        let mut checked = Checked::default();
        if self.verify == VerifySignatures::Off {
            return Ok(checked);
        }
        // Queried only if a row has a time.
        let mut now = None;
        for row in rows {
            // Its body was not read, and it is never sent.
            if row.too_large.is_some() {
                continue;
            }
            let refusal = match self.verify(table, scope, row) {
                Err(reason) => Refusal::Invalid(reason),
                Ok(None) => continue,
                Ok(Some(due)) => {
                    let now = match now {
                        Some(now) => now,
                        None => *now.insert(conn.now()?),
                    };
                    if due <= now {
                        continue;
                    }
                    Refusal::NotDue(due)
                }
            };
            if self.verify == VerifySignatures::Require {
                checked.refused.insert(row.row(), refusal);
            } else {
                checked.unverified += 1;
                let example = &mut checked.example;
                example.get_or_insert_with(|| (row.id, refusal.reason()));
            }
        }
        Ok(checked)
    }

    /// Verifies a row. Returns the signed time before which it is not sent.
    fn verify(
        &self,
        table: LifecycleTable,
        scope: &Scope,
        row: &Claimed,
    ) -> Result<Option<DateTime<Utc>>, String> {
        let keys = self.keys.as_ref().ok_or("no signing_keys are set")?;
        let payload = row.call.as_ref().and_then(|call| {
            let payload = call.payload.as_deref()?;
            Some((call.encoding.as_str(), payload))
        });
        let fields = Fields {
            table: table.name,
            id: row.id,
            target: &row.destination,
            json: payload.is_none().then_some(row.body.as_str()),
            encoded: payload,
            headers: &row.headers,
            stream: row.stream.as_deref(),
            key: row.key.as_deref(),
        };
        let rule_gave_key = row.key.is_some()
            && row.key == scope.ruled_key(row.stream.as_deref(), &row.destination);
        let due = keys.verify(&fields, row.signature.as_deref(), rule_gave_key);
        due.map_err(|invalid| invalid.to_string())
    }
}

impl Refusal {
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Invalid(reason) => reason.clone(),
            Self::NotDue(due) => format!(
                "the row is signed to be sent at {} or later, and its `due_at` was earlier",
                due.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            ),
        }
    }
}

/// Warnings about rows that are sent or executed without a valid signature, a limited number of them.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    last: Option<Instant>,
    /// Rows since the last warning.
    rows: usize,
}

impl Warnings {
    /// Logs the rows that are delivered with a warning, unless a warning was logged a short time ago.
    pub(crate) fn warn(&mut self, checked: &Checked) {
        self.rows += checked.unverified;
        let Some((id, reason)) = &checked.example else {
            return;
        };
        let is_early = self.last.is_some_and(|last| last.elapsed() < WARNING_PAUSE);
        if is_early {
            return;
        }
        tracing::warn!(
            rows = self.rows,
            %id,
            reason,
            "rows without a valid signature are sent or executed, because verify_signatures is warn; `id` is one of \
             them"
        );
        self.last = Some(Instant::now());
        self.rows = 0;
    }
}
