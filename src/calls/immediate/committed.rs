//! The calls of a committed transaction: they are executed one after another, and their results are recorded.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::immediate::Immediate;
use super::open_transaction::{Opened, Terms, Written, open};
use super::renewals::Held;
use crate::backend::{Backend, CALLS, Failure, FailureAction, RowKey, Scope};
use crate::calls::executor::execute_here;
use crate::calls::new_call::Ready;
use crate::engine::delivery::Outcome;
use crate::engine::hindrances::Hindrances;
use crate::engine::leases::Lease;
use crate::engine::memory::Memory;
use crate::engine::observer::Observer;
use crate::engine::outcomes::Outcomes;
use crate::engine::row::Row;
use crate::engine::signatures::Refusal;
use crate::error::Error;
use crate::metrics::ParkCause;
use crate::pending_row::insert;
use crate::runtime::lease_clock;

/// How often a result is recorded that another session's lock has kept from being recorded.
const TRIES: u32 = 10;
/// Pause before each further try.
const PAUSE: Duration = Duration::from_millis(20);

/// What is recorded of an execution.
enum Verdict {
    /// It succeeded. The row may be recorded already.
    Done { is_recorded: bool },
    /// It failed.
    Failed(FailureAction, String),
    /// The call waits for an executor.
    Left,
}

/// A row of the transaction.
struct Committable {
    row: Row,
    is_blocked: bool,
}

/// The calls of a committed transaction.
pub(super) struct Committed<'a, C: Backend> {
    handle: &'a Immediate<C>,
    token: Uuid,
    held: Held,
    rows: HashMap<Uuid, Row>,
    /// Keys whose later calls wait for an executor.
    withdrawn: HashSet<String>,
    /// The streams that are paused; `None`: unknown, so that no call of a stream is executed.
    paused: Option<Vec<String>>,
    memory: Memory,
    /// Whether calls were left to an executor.
    leaves_calls: bool,
}

impl<'a, C: Backend> Committed<'a, C> {
    /// Executes what was written in a transaction that is committed.
    pub(super) fn execute(handle: &'a Immediate<C>, conn: &mut C, token: Uuid, opened: Opened) {
        let mut leaves_calls = opened.leaves_calls;
        if !opened.written.is_empty() {
            let ends = opened.lease_ends.unwrap_or_else(lease_clock::now);
            let mut committed = Self::read(handle, conn, Lease { token, ends }, &opened.written);
            for written in opened.written {
                match written {
                    // Removed, so that an id that was written twice is executed once.
                    Written::Row(id) => {
                        if let Some(row) = committed.rows.remove(&id) {
                            committed.row(conn, row);
                        }
                    }
                    Written::Unwritten(call) => committed.unwritten(conn, call),
                }
            }
            leaves_calls |= committed.leaves_calls;
        }
        if let Some(waker) = handle.waker.as_ref().filter(|_| leaves_calls) {
            waker.wake();
        }
    }

    /// Reads the rows that are there, and releases those that are not executed here.
    fn read(handle: &'a Immediate<C>, conn: &mut C, lease: Lease, written: &[Written]) -> Self {
        let mut committed = Self {
            handle,
            token: lease.token,
            held: handle.renewals.hold(lease.token),
            rows: HashMap::new(),
            withdrawn: HashSet::new(),
            paused: Some(Vec::new()),
            memory: Memory::new(handle.settings.memory_limit),
            leaves_calls: false,
        };
        let rows = committed.rows_of(conn, lease, written).unwrap_or_else(|error| {
            tracing::warn!(
                error = %error,
                "could not read the calls of a transaction after its commit; an executor executes them when their \
                 leases have ended"
            );
            Vec::new()
        });
        let of_streams =
            |it: &Written| matches!(it, Written::Unwritten(call) if call.stream.is_some());
        if rows.iter().any(|it| it.row.claimed.stream.is_some()) || written.iter().any(of_streams) {
            committed.paused = conn.paused_streams().ok();
        }
        let (mut released, mut left) = (Outcomes::default(), Vec::new());
        for Committable { row, is_blocked } in rows {
            let is_behind = row
                .key()
                .is_some_and(|key| committed.withdrawn.contains(key));
            if is_blocked || is_behind || committed.is_paused(row.claimed.stream.as_deref()) {
                committed.withdraw(&row);
                released.released(&row);
            } else {
                left.push(row.row());
                committed.rows.insert(row.id(), row);
            }
        }
        committed.leaves_calls = !released.is_empty();
        committed.settle(conn, released);
        handle.renewals.add(&committed.held, &left, lease.ends);
        committed
    }

    fn rows_of(
        &self,
        conn: &mut C,
        lease: Lease,
        written: &[Written],
    ) -> diesel::QueryResult<Vec<Committable>> {
        let ids = written.iter().filter_map(|it| match it {
            Written::Row(id) => Some(*id),
            Written::Unwritten(_) => None,
        });
        let calls = conn.read_leased(CALLS, lease.token, &ids.collect::<Vec<_>>())?;
        let (claimed, blocked): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|call| (call.claimed, call.is_blocked))
            .unzip();
        let signatures = &self.handle.settings.signatures;
        let mut checked = signatures.check(conn, CALLS, &Scope::default(), &claimed)?;
        self.handle.warn_of_signatures(&checked);
        let rows = claimed.into_iter().zip(blocked);
        let rows = rows.map(|(claimed, is_blocked)| {
            let mut row = Row::new(claimed, lease, &self.memory);
            row.refusal = checked.refused.remove(&row.row());
            Committable { row, is_blocked }
        });
        Ok(rows.collect())
    }

    fn is_paused(&self, stream: Option<&str>) -> bool {
        stream.is_some_and(|stream| {
            let paused = self.paused.as_ref();
            paused.is_none_or(|paused| paused.iter().any(|it| it == stream))
        })
    }

    /// Executes a call that has a row.
    fn row(&mut self, conn: &mut C, mut row: Row) {
        let key = row.row();
        let is_behind = row.key().is_some_and(|key| self.withdrawn.contains(key));
        if is_behind || !self.held.is_held(conn, key) {
            return self.record(conn, &row, Verdict::Left);
        }
        let verdict = if row.claimed.expired {
            let reason = "expired".to_owned();
            let mut observer = self.handle.observer();
            observer.parked(&row, ParkCause::Expired, &reason);
            drop(observer);
            Verdict::Failed(FailureAction::Expire, reason)
        } else {
            match row.refusal.take() {
                Some(Refusal::NotDue(due)) => {
                    let reason = Refusal::NotDue(due).reason();
                    Verdict::Failed(FailureAction::NotBefore(due), reason)
                }
                Some(refusal) => self.verdict(&row, Outcome::Unsendable(refusal.reason())),
                None => {
                    let outcome = self.run(conn, &mut row, Some((self.token, key)));
                    self.verdict(&row, outcome)
                }
            }
        };
        self.record(conn, &row, verdict);
    }

    fn run(&self, conn: &mut C, row: &mut Row, record: Option<(Uuid, RowKey)>) -> Outcome {
        row.started = Some(Instant::now());
        let (timeout, runtime) = (self.handle.timeout, self.handle.runtime.as_ref());
        execute_here(&self.handle.calls, timeout, runtime, conn, row, record)
    }

    /// What becomes of a call by the outcome of its execution. The log and the hooks learn of it.
    fn verdict(&self, row: &Row, outcome: Outcome) -> Verdict {
        let retry = &self.handle.settings.retry;
        let mut observer = self.handle.observer();
        match outcome {
            Outcome::Sent | Outcome::Recorded => {
                observer.sent(row);
                Verdict::Done {
                    is_recorded: outcome == Outcome::Recorded,
                }
            }
            Outcome::Refused(reason) => {
                let action = retry.action(&row.claimed);
                let is_retried = matches!(action, FailureAction::Retry(_));
                observer.failed(row, &reason, is_retried);
                if !is_retried {
                    observer.parked(row, ParkCause::Exhausted, &reason);
                }
                Verdict::Failed(action, reason)
            }
            Outcome::Unsendable(reason) => {
                observer.parked(row, ParkCause::Unsendable, &reason);
                Verdict::Failed(retry.parked(&row.claimed), reason)
            }
            Outcome::Interrupted(reason) => {
                let longest = self.handle.settings.maximum_backoff;
                let pause = Hindrances::new(longest).pause(row.row());
                tracing::warn!(
                    id = %row.id(),
                    name = row.claimed.destination,
                    reason,
                    ?pause,
                    "a call was interrupted by the database or the network; an executor retries it, and no \
                     attempt counts"
                );
                observer.error(&reason);
                Verdict::Failed(FailureAction::Postpone(pause), reason)
            }
            Outcome::NotSent { .. } | Outcome::Unknown => Verdict::Left,
        }
    }

    /// Records the result of a call that has a row.
    fn record(&mut self, conn: &mut C, row: &Row, verdict: Verdict) {
        self.held.ended(row.row());
        let mut outcomes = Outcomes::default();
        match verdict {
            Verdict::Done { is_recorded: true } => {}
            Verdict::Done { is_recorded: false } => outcomes.sent(row),
            Verdict::Failed(action, reason) => {
                let lets_key_continue =
                    matches!(action, FailureAction::Expire | FailureAction::ParkAndSkip);
                if !lets_key_continue {
                    self.withdraw(row);
                }
                let failure = Failure {
                    row: row.row(),
                    action,
                    reason,
                };
                outcomes.failed(row, failure);
            }
            Verdict::Left => {
                self.withdraw(row);
                self.leaves_calls = true;
                outcomes.released(row);
            }
        }
        self.settle(conn, outcomes);
    }

    fn withdraw(&mut self, row: &Row) {
        if let Some(key) = row.key() {
            self.withdrawn.insert(key.to_owned());
        }
    }

    /// Writes outcomes to the database, each only to a row that is still under the token.
    fn settle(&self, conn: &mut C, mut outcomes: Outcomes) {
        for _ in 0..TRIES {
            if outcomes.is_empty() {
                return;
            }
            let settled = outcomes.settle(conn, CALLS).or_else(|error| {
                tracing::debug!(error = %error, "recording a result on another connection");
                self.handle.db.work(|conn| outcomes.settle(conn, CALLS))
            });
            match settled {
                Ok(unsettled) => {
                    let rest = unsettled.locked.union(&unsettled.missed).copied();
                    outcomes = outcomes.take_out(&rest.collect());
                }
                Err(error) => {
                    tracing::warn!(
                        error = %error,
                        "could not record the results of calls; they are executed again when their leases have ended"
                    );
                    return;
                }
            }
            if !outcomes.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        if !outcomes.is_empty() {
            tracing::warn!(
                "another database session keeps calls locked: their results are not recorded, and they are executed \
                 again when their leases have ended"
            );
        }
    }

    /// Executes a call that has no row, and writes one if it fails.
    fn unwritten(&mut self, conn: &mut C, call: Ready) {
        if self.is_paused(call.stream.as_deref()) {
            return self.write(conn, call, None);
        }
        let lease = Lease {
            token: self.token,
            ends: lease_clock::now() + self.handle.settings.lease,
        };
        let mut row = Row::new(call.claimed(), lease, &self.memory);
        let outcome = self.run(conn, &mut row, None);
        match self.verdict(&row, outcome) {
            Verdict::Done { .. } => {}
            Verdict::Failed(action, reason) => self.write(conn, call, Some((action, reason))),
            Verdict::Left => self.write(conn, call, None),
        }
    }

    /// Writes the row of a call that has none, and its failed attempt if there was one.
    fn write(&mut self, conn: &mut C, call: Ready, failure: Option<(FailureAction, String)>) {
        self.leaves_calls |= failure.is_none();
        let lease = self.handle.settings.lease;
        let write = |conn: &mut C| -> Result<(), Error> {
            let Some((action, reason)) = failure.clone() else {
                return insert(conn, vec![call.clone()]);
            };
            conn.atomically(|conn| {
                let token = Uuid::new_v4();
                let terms = Terms {
                    token,
                    lease,
                    executes: Rc::new(|_| true),
                };
                let (written, _) = open(conn, terms, |conn| insert(conn, vec![call.clone()]));
                written?;
                let rows = conn.read_leased(CALLS, token, &[call.id])?.into_iter();
                let failures = rows.map(|row| Failure {
                    row: row.claimed.row(),
                    action: action.clone(),
                    reason: reason.clone(),
                });
                conn.settle_failed(CALLS, token, &failures.collect::<Vec<_>>())?;
                Ok(())
            })
        };
        let written = write(conn).or_else(|error| {
            tracing::debug!(error = %error, "writing a failed call on another connection");
            match self.handle.db.lend(write, Result::is_err) {
                Ok((written, _)) => written.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        });
        if let Err(error) = written {
            tracing::error!(
                id = %call.id,
                name = call.name,
                reason = failure.map(|(_, reason)| reason),
                error,
                "a call is lost: it has no row, because its function has `persist = \"failures\"`, it was not \
                 executed with success, and its row could not be written"
            );
        }
    }
}
