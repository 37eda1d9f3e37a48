//! The statements of the lifecycle, the same on all databases.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::failure::failed;
use super::{Action, Failure, Lifecycle, LifecycleTable, PARKED, RowCounts, SUCCEEDED, WAITING};
use crate::backend::claimed::{self, Claim, Room, RowKey};
use crate::backend::dialect::{Changes, Dialect};
use crate::backend::maintenance::Maintenance;
use crate::backend::names;
use crate::backend::outbox_write;
use crate::backend::qualify::RunQueryDsl;
use crate::backend::row_state::RowState;
use crate::backend::scope::{Filter, Scope};
use crate::backend::storage::Storage;
use crate::schema::{self, Moment};

/// The maximum number of rows in one statement; the limits of SQLite and the servers are higher.
pub(super) const ROWS_IN_ONE_STATEMENT: usize = 10_000;

/// What is left of a row's key when rows are compared.
fn comparable<C: Dialect>(row: &RowKey) -> RowKey {
    if C::HAS_TEXT_IDS {
        RowKey {
            id: Uuid::nil(),
            ..*row
        }
    } else {
        RowKey { seq: 0, ..*row }
    }
}

#[derive(QueryableByName)]
pub(super) struct Key {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    id: String,
}

impl Key {
    pub(super) fn row(self) -> RowKey {
        RowKey {
            seq: self.seq,
            id: names::uuid(&self.id).unwrap_or_default(),
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Written {
    #[diesel(sql_type = schema::Utc)]
    added: Moment,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Nullable<Text>)]
    stream: Option<String>,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Integer)]
    status: i32,
    #[diesel(sql_type = Bool)]
    is_leased: bool,
}

impl State {
    fn row_state(&self, table: LifecycleTable) -> RowState {
        RowState::new(table, self.status, self.is_leased)
    }
}

/// The methods that the macro below needs beside the contract.
pub(super) trait Rows: Sized {
    /// Applies the same changes to leased rows, in several statements if there are many rows.
    fn change_all(
        &mut self,
        table: LifecycleTable,
        token: Uuid,
        rows: &[RowKey],
        changes: &str,
    ) -> QueryResult<usize>;

    /// Finds the `seq` of rows whose id is this one in a spelling that this crate does not write.
    fn spelled_otherwise(
        &mut self,
        table: LifecycleTable,
        id: &str,
        statuses: &[i32],
    ) -> QueryResult<Vec<i64>>;

    /// Counts the rows for which a condition is true.
    fn count_where(&mut self, table: LifecycleTable, condition: &str) -> QueryResult<i64>;
}

macro_rules! lifecycle {
    ($module:ident: $connection:ty) => {
        impl Lifecycle for $connection {
            fn take(
                &mut self,
                table: LifecycleTable,
                scope: &Scope,
                token: Uuid,
                lease: Duration,
                room: Room,
            ) -> QueryResult<Claim> {
                let filter = Filter::new(scope, &self.paused_streams()?);
                let leased = self.lease_rows(table, token, lease, room, &filter)?;
                let (mut claim, back) = claimed::sort(leased, room);
                claim.kept = back.len().saturating_sub(self.release(table, token, &back)?);
                Ok(claim)
            }

            fn settle_sent(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                rows: &[RowKey],
            ) -> QueryResult<usize> {
                // `due_at` is a time that has passed, so that a row put back into the queue by hand is sent at once.
                let changes = table.fill(&format!(
                    "status = 2, {{settled_at}} = {}, last_error = null, due_at = {}, lease_token = null",
                    Self::NOW,
                    Self::EPOCH
                ));
                self.change_all(table, token, rows, &changes)
            }

            // Not under the lock of claims: if a claim has found a row and cannot lease it because the row
            // has failed in the meantime, the row blocks its key, unless its failure lets the key continue.
            fn settle_failed(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                failures: &[Failure],
            ) -> QueryResult<usize> {
                if failures.is_empty() {
                    return Ok(0);
                }
                let now = self.now()?;
                let mut settled = 0;
                for failure in failures {
                    let changes = failed::<Self>(failure, now);
                    settled += self.change_leased(table, token, &[failure.row], changes)?;
                }
                Ok(settled)
            }

            fn release(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                rows: &[RowKey],
            ) -> QueryResult<usize> {
                let changes = format!("due_at = {}, lease_token = null", Self::EPOCH);
                self.change_all(table, token, rows, &changes)
            }

            fn release_all(&mut self, table: LifecycleTable, token: Uuid) -> QueryResult<usize> {
                // The claim may still be running.
                self.await_claims(table)?;
                let rows: Vec<Key> = diesel::sql_query(format!(
                    "select {} from {} where status = 1 and lease_token = '{token}'",
                    Self::ROW_KEY,
                    table.name
                ))
                .load(self)?;
                let rows: Vec<RowKey> = rows.into_iter().map(Key::row).collect();
                self.release(table, token, &rows)
            }

            fn under(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                rows: &[RowKey],
            ) -> QueryResult<Vec<RowKey>> {
                let mut found: HashSet<RowKey> = HashSet::new();
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    let ours: Vec<Key> = diesel::sql_query(format!(
                        "select {} from {} where {} and lease_token = '{token}' and status <> 2",
                        Self::ROW_KEY,
                        table.name,
                        Self::among(rows)
                    ))
                    .load(self)?;
                    found.extend(ours.into_iter().map(|key| comparable::<Self>(&key.row())));
                }
                let rows = rows.iter();
                let ours = rows.filter(|row| found.contains(&comparable::<Self>(row)));
                Ok(ours.copied().collect())
            }

            fn act<I: ToString>(
                &mut self,
                table: LifecycleTable,
                action: Action,
                ids: &[I],
            ) -> QueryResult<usize> {
                let condition = action.condition(&Self::time_literal(self.now()?));
                let change = |conn: &mut Self, row: String| {
                    let rows = format!("{row} and {condition}");
                    let statement = action.statement::<Self>(table, &rows, false);
                    outbox_write::write(|| diesel::sql_query(statement).execute(conn))
                };
                self.atomically(|conn| {
                    let mut changed = 0;
                    for id in ids {
                        let id = id.to_string();
                        // One key at a time: in a user's transaction MySQL may lock all rows that
                        // a statement reads.
                        if let Some(uuid) = names::uuid(&id) {
                            let found = change(conn, format!("id = '{uuid}'"))?;
                            changed += found;
                            if found > 0 {
                                continue;
                            }
                        }
                        for seq in conn.spelled_otherwise(table, &id, &[action.status()])? {
                            changed += change(conn, format!("seq = {seq}"))?;
                        }
                    }
                    Ok(changed)
                })
            }

            fn retry<I: ToString>(
                &mut self,
                table: LifecycleTable,
                ids: &[I],
            ) -> QueryResult<usize> {
                if !ids.is_empty() {
                    return self.act(table, Action::Retry, ids);
                }
                let all = format!("status = {PARKED}");
                let statement = Action::Retry.statement::<Self>(table, &all, false);
                outbox_write::write(|| diesel::sql_query(statement).execute(self))
            }

            fn cancel<I: ToString>(
                &mut self,
                table: LifecycleTable,
                ids: &[I],
            ) -> QueryResult<usize> {
                self.atomically(|conn| {
                    let cancelled = conn.act(table, Action::Cancel, ids)?;
                    if cancelled > 0 {
                        conn.notify()?;
                    }
                    Ok(cancelled)
                })
            }

            fn state(
                &mut self,
                table: LifecycleTable,
                id: &str,
            ) -> QueryResult<Option<RowState>> {
                let now = Self::time_literal(self.now()?);
                let state_where = |conn: &mut Self, condition: String| {
                    let states: Vec<State> = diesel::sql_query(format!(
                        "select status, lease_token is not null and due_at > {now} as is_leased
                        from {} where {condition}",
                        table.name
                    ))
                    .load(conn)?;
                    QueryResult::Ok(states.iter().next().map(|state| state.row_state(table)))
                };
                if let Some(uuid) = names::uuid(id)
                    && let Some(state) = state_where(self, format!("id = '{uuid}'"))?
                {
                    return Ok(Some(state));
                }
                let statuses = [WAITING, PARKED, SUCCEEDED];
                let found = self.spelled_otherwise(table, id, &statuses)?.pop();
                match found {
                    Some(seq) => state_where(self, format!("seq = {seq}")),
                    None => Ok(None),
                }
            }

            fn last_waiting(&mut self, table: LifecycleTable) -> QueryResult<Option<i64>> {
                let last: Vec<Number> = diesel::sql_query(format!(
                    "select seq as n from {} where status = 1 order by seq desc limit 1",
                    table.name
                ))
                .load(self)?;
                Ok(last.iter().next().map(|last| last.n))
            }

            fn waiting(
                &mut self,
                table: LifecycleTable,
            ) -> QueryResult<(i64, Option<DateTime<Utc>>)> {
                let oldest: Vec<Written> = diesel::sql_query(format!(
                    "select added from {} where status = 1 order by seq limit 1",
                    table.name
                ))
                .load(self)?;
                let rows = self.count_where(table, "status = 1")?;
                Ok((rows, oldest.iter().next().map(|oldest| oldest.added.0)))
            }

            fn left(
                &mut self,
                table: LifecycleTable,
                streams: &[String],
                targets: &[String],
                last: i64,
            ) -> QueryResult<i64> {
                let now = Self::time_literal(self.now()?);
                let paused = self.paused_streams()?;
                let due: Vec<Due> = diesel::sql_query(table.fill(&format!(
                    "select stream, {{target}} as target, count(*) as n from {{table}}
                    where status = 1 and due_at <= {now} and seq <= {last}
                    group by stream, {{target}}"
                )))
                .load(self)?;
                let is_meant = |row: &&Due| {
                    let is_in = |names: &[String]| {
                        row.stream.as_ref().is_some_and(|name| names.contains(name))
                    };
                    !is_in(&paused)
                        && (streams.is_empty() || is_in(streams))
                        && (targets.is_empty() || targets.contains(&row.target))
                };
                Ok(due.iter().filter(is_meant).map(|row| row.n).sum())
            }

            fn count(&mut self, table: LifecycleTable) -> QueryResult<RowCounts> {
                let now = Self::time_literal(self.now()?);
                let (waiting, oldest_waiting) = self.waiting(table)?;
                Ok(RowCounts {
                    waiting,
                    not_due: self.count_where(table, &format!("status = 1 and due_at > {now}"))?,
                    parked: self.count_where(table, "status = -1")?,
                    succeeded: self.count_where(table, "status = 2")?,
                    oldest_waiting,
                })
            }

            fn delete_settled(
                &mut self,
                table: LifecycleTable,
                time: DateTime<Utc>,
                batch: i64,
            ) -> QueryResult<usize> {
                diesel::sql_query(table.fill(Self::DELETE_SETTLED))
                    .bind::<schema::Utc, _>(Moment(time))
                    .bind::<schema::Utc, _>(Moment(time))
                    .bind::<BigInt, _>(batch)
                    .execute(self)
            }
        }

        impl Rows for $connection {
            fn change_all(
                &mut self,
                table: LifecycleTable,
                token: Uuid,
                rows: &[RowKey],
                changes: &str,
            ) -> QueryResult<usize> {
                let mut changed = 0;
                for rows in rows.chunks(ROWS_IN_ONE_STATEMENT) {
                    let changes = Changes {
                        sql: changes.to_owned(),
                        is_frequent: true,
                    };
                    changed += self.change_leased(table, token, rows, changes)?;
                }
                Ok(changed)
            }

            fn spelled_otherwise(
                &mut self,
                table: LifecycleTable,
                id: &str,
                statuses: &[i32],
            ) -> QueryResult<Vec<i64>> {
                if !Self::HAS_TEXT_IDS || Self::id_literal(id).is_none() {
                    return Ok(Vec::new());
                }
                let spellings = names::spellings(id);
                let places = vec!["?"; spellings.len()].join(", ");
                let mut usual = diesel::sql_query(format!(
                    "select seq, '' as id from {} where id in ({places})",
                    table.name
                ))
                .into_boxed::<<Self as diesel::Connection>::Backend>();
                for spelling in spellings {
                    usual = usual.bind::<Text, _>(spelling);
                }
                let mut found: Vec<Key> = usual.load(self)?;
                let Some(uuid) = names::uuid(id).filter(|_| found.is_empty()) else {
                    return Ok(found.into_iter().map(|key| key.seq).collect());
                };
                // Other spellings cannot be found by an index.
                for status in statuses {
                    if !found.is_empty() {
                        break;
                    }
                    found = diesel::sql_query(format!(
                        "select seq, '' as id from {} where status = {status} and lower(replace(
                            replace(replace(replace(trim(id), '-', ''), '{{', ''), '}}', ''),
                            'urn:uuid:', '')) = '{}'",
                        table.name,
                        uuid.simple()
                    ))
                    .load(self)?;
                }
                Ok(found.into_iter().map(|key| key.seq).collect())
            }

            fn count_where(&mut self, table: LifecycleTable, condition: &str) -> QueryResult<i64> {
                let counted: Number = diesel::sql_query(format!(
                    "select count(*) as n from {} where {condition}",
                    table.name
                ))
                .get_result(self)?;
                Ok(counted.n)
            }
        }
    };
}

crate::backend::databases!(lifecycle);
