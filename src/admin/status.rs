//! Numbers of the outbox: the rows that are not settled, and who has leased them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{AdminError, Rows};
use crate::backend::{
    AsBackend, Backlog, Dialect, LeasedRows, LifecycleTable, Maintenance, PUBLISHED, UnclaimedRows,
    WaitingRows, lease_token,
};

pub use crate::backend::COUNT_LIMIT;

/// Reasons and targets that are listed.
const LISTED: usize = 20;

/// How long the rows of a target have waited, at least, if it is in [`Status::unclaimed`], and how long none of them had
/// a lease. An executor that knows a name and has time claims its calls after `poll_interval`, 1 s by default.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(60);

/// The rows that are not settled: those that wait, and those that are parked.
///
/// Each count stops at [`COUNT_LIMIT`]: a count of this number means this many rows, or more. Of more waiting rows
/// only the oldest are looked at.
///
/// `waiting` is the sum of `due`, `blocked`, `delayed`, `retrying` and `leased`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Status {
    /// Rows that wait to be sent or executed, those under a lease included.
    pub waiting: i64,
    /// Of those, the ones that are not due: leased, delayed, or pausing after a failure.
    pub not_due: i64,
    /// Rows that can be claimed now, and rows of paused streams that could be claimed without the pause.
    pub due: i64,
    /// Rows that are due and wait for an earlier row of their key.
    pub blocked: i64,
    /// Rows that were written for a later time.
    pub delayed: i64,
    /// Rows that have failed and are retried, whether the next attempt is due or not.
    pub retrying: i64,
    /// Rows under a lease.
    pub leased: i64,
    /// Parked rows.
    pub parked: i64,
    /// Of those, the ones that expired.
    pub expired: i64,
    /// Of those, the ones that were cancelled.
    pub cancelled: i64,
    /// When the oldest waiting row was written.
    pub oldest_waiting: Option<DateTime<Utc>>,
    /// The reasons of the last failures of the retrying rows, the most frequent first; at most 20. A reason is cut
    /// off after 200 characters.
    pub reasons: Vec<NamedCount>,
    /// The destinations of the waiting rows, or the names of the waiting calls, the most frequent first; at most 20.
    pub targets: Vec<NamedCount>,
    /// The destinations of the retrying rows, or the names of the retrying calls, with the number of these rows, the most
    /// frequent first; at most 20. A relay may have opened the circuit of such a destination: which circuits are open is
    /// known only to the relay, see `RelayStatus::open_circuits`.
    pub failing: Vec<NamedCount>,
    /// Only of calls: names with a call that could have been claimed for 60 s or longer, if no waiting call of the name
    /// has a lease or had one that ended in the last 60 s; the name with the oldest call first, at most 20. No executor
    /// that runs knows the name, or all are busy with calls of other names. An executor claims only calls whose functions
    /// it has. Calls that are delayed, pause after a failure, are blocked or are in a paused stream do not count.
    pub unclaimed: Vec<UnclaimedCalls>,
    /// The streams that have waiting rows or are paused, by name; rows without a stream come first.
    pub streams: Vec<StreamStatus>,
    /// The relays and executors that have leased rows.
    pub holders: Vec<LeaseHolder>,
    /// The paused streams, by name.
    pub paused_streams: Vec<String>,
}

/// A text and the number of rows that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedCount {
    /// The text.
    pub name: String,
    /// The number of rows.
    pub rows: i64,
}

/// The calls of a name that no executor claims.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnclaimedCalls {
    /// The name of the function.
    pub name: String,
    /// The calls that can be claimed.
    pub rows: i64,
    /// How long the first of them could have been claimed.
    pub oldest: Duration,
}

/// The rows of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The stream's name; `None`: the rows without a stream.
    pub name: Option<String>,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Its waiting rows.
    pub waiting: i64,
    /// Its rows that can be claimed now. A paused stream has none.
    pub claimable: i64,
    /// How long the first of these rows could have been claimed. Zero if there is none.
    pub oldest_claimable: Duration,
}

/// A relay or an executor that has leased rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// Its name, which it logs when it starts; `None` if the lease does not contain it, because an earlier version
    /// of this crate made it.
    pub name: Option<String>,
    /// The rows that it has leased.
    pub rows: i64,
    /// When it made the first of these claims, by its own clock.
    pub since: Option<DateTime<Utc>>,
    /// When the last of these leases ends, by the clock of the database.
    pub until: DateTime<Utc>,
}

/// Counts the rows of the outbox that are not settled. Rows that were sent are not read, and of the others up to
/// [`COUNT_LIMIT`] for each count, so that the cost is limited. [`Rows::status`] does the same for calls.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// Message::new("/queue/mail", 1).publish(conn)?;
/// let status = admin::status(conn)?;
/// assert_eq!((status.waiting, status.due, status.parked), (1, 1, 0));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn status<C: AsBackend>(conn: &mut C) -> Result<Status, AdminError> {
    status_of(PUBLISHED, conn)
}

/// The rows that are settled, and the messages in the inbox. Each count stops at [`COUNT_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Messages that were sent and not deleted yet.
    pub sent: i64,
    /// Calls that were executed and not deleted yet.
    pub executed: i64,
    /// Messages in the inbox.
    pub received: i64,
}

/// Counts the rows that are settled. It reads up to [`COUNT_LIMIT`] rows for each count.
///
/// # Errors
///
/// If the database fails, or the tables are missing.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// assert_eq!(admin::totals(conn)?.sent, 0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn totals<C: AsBackend>(conn: &mut C) -> Result<Totals, AdminError> {
    let conn = conn.as_backend();
    Ok(Totals {
        sent: conn.count_succeeded(Rows::Messages.table())?,
        executed: conn.count_succeeded(Rows::Calls.table())?,
        received: conn.count_inbox()?,
    })
}

pub(super) fn status_of<C: AsBackend>(
    table: LifecycleTable,
    conn: &mut C,
) -> Result<Status, AdminError> {
    let conn = conn.as_backend();
    let now = conn.now()?;
    let paused_streams = conn.paused_streams()?;
    let waiting = conn.count_waiting(table, now)?;
    let parked = conn.count_parked(table)?;
    let mut status = Status {
        parked: parked.all,
        expired: parked.expired,
        cancelled: parked.cancelled,
        oldest_waiting: waiting.iter().map(WaitingRows::added).min(),
        ..Status::default()
    };
    for rows in &waiting {
        status.add(rows);
    }
    status.streams = streams(&waiting, &paused_streams, now);
    let ages = status.streams.iter().map(|stream| stream.oldest_claimable);
    if table.is_executed && ages.max() >= Some(UNCLAIMED_AFTER) {
        let found =
            conn.count_unclaimed(table, now, now - UNCLAIMED_AFTER, &paused_streams, LISTED)?;
        status.unclaimed = unclaimed(found, now);
    }
    status.paused_streams = paused_streams;
    let named = |it: crate::backend::CountedName| NamedCount {
        name: it.name,
        rows: it.rows,
    };
    if status.retrying > 0 {
        let reasons = conn.count_reasons(table, LISTED)?;
        status.reasons = reasons.into_iter().map(named).collect();
        let failing = conn.count_failing(table, LISTED)?;
        status.failing = failing.into_iter().map(named).collect();
    }
    if status.waiting > 0 {
        let targets = conn.count_targets(table, LISTED)?;
        status.targets = targets.into_iter().map(named).collect();
    }
    if status.leased > 0 {
        status.holders = holders(conn.count_leased(table, now)?);
    }
    Ok(status)
}

impl Status {
    fn add(&mut self, rows: &WaitingRows) {
        let count = rows.rows;
        self.waiting += count;
        if !rows.is_due {
            self.not_due += count;
        }
        let state = if rows.is_leased {
            &mut self.leased
        } else if rows.is_retried {
            &mut self.retrying
        } else if !rows.is_due {
            &mut self.delayed
        } else if rows.is_blocked {
            &mut self.blocked
        } else {
            &mut self.due
        };
        *state += count;
    }
}

/// The streams of these rows, and the paused ones.
fn streams(
    waiting: &[WaitingRows],
    paused_streams: &[String],
    now: DateTime<Utc>,
) -> Vec<StreamStatus> {
    let paused: HashSet<&str> = paused_streams.iter().map(String::as_str).collect();
    let mut streams: BTreeMap<Option<&str>, StreamStatus> = BTreeMap::new();
    let names = waiting.iter().map(|rows| rows.stream.as_deref());
    for name in names.chain(paused.iter().map(|name| Some(*name))) {
        streams.entry(name).or_insert_with(|| StreamStatus {
            name: name.map(str::to_owned),
            is_paused: name.is_some_and(|name| paused.contains(name)),
            ..StreamStatus::default()
        });
    }
    for rows in waiting {
        let Some(stream) = streams.get_mut(&rows.stream.as_deref()) else {
            continue;
        };
        stream.waiting += rows.rows;
        if rows.is_due && !rows.is_leased && !rows.is_blocked && !stream.is_paused {
            stream.claimable += rows.rows;
            let age = (now - rows.since()).to_std().unwrap_or_default();
            stream.oldest_claimable = stream.oldest_claimable.max(age);
        }
    }
    streams.into_values().collect()
}

/// Those of the names that have waited for long.
fn unclaimed(found: Vec<UnclaimedRows>, now: DateTime<Utc>) -> Vec<UnclaimedCalls> {
    let calls = found.into_iter().map(|found| UnclaimedCalls {
        oldest: (now - found.since()).to_std().unwrap_or_default(),
        name: found.name,
        rows: found.rows,
    });
    calls
        .filter(|calls| calls.oldest >= UNCLAIMED_AFTER)
        .collect()
}

/// The holders of these leases, the one with the oldest claim first.
fn holders(leased: Vec<LeasedRows>) -> Vec<LeaseHolder> {
    let mut holders: BTreeMap<Option<String>, LeaseHolder> = BTreeMap::new();
    for rows in leased {
        let (name, since) = lease_token::origin(&rows.token).unzip();
        let holder = holders.entry(name.clone()).or_insert(LeaseHolder {
            name,
            rows: 0,
            since,
            until: rows.until(),
        });
        holder.rows += rows.rows;
        holder.since = holder.since.min(since);
        holder.until = holder.until.max(rows.until());
    }
    let mut holders: Vec<LeaseHolder> = holders.into_values().collect();
    holders.sort_by_key(|holder| holder.since);
    holders
}
