//! One execution of a call: its arguments are decoded, its function runs, and its result becomes an outcome.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::observer::attempt;
use super::scope::{Scope, record_outcome};
use super::transaction::{self, Attempt};
use super::workers::{Finished, Job, Workers};
use crate::backend::{Backend, CALLS, CallColumns, RowKey};
use crate::calls::context::{CallInfo, Context};
use crate::calls::function::CallResult;
use crate::calls::registry::{Calls, Execution, Registered, StoredArguments};
use crate::db::{Db, Fault, fault};
use crate::engine::delivery::Outcome;
use crate::engine::row::Row;
use crate::error::BoxError;
use crate::error_text;
use crate::metrics::FailedCall;
use crate::permanent::is_permanent;
use crate::runtime::time_limit;

/// The maximum length of a reason in `last_error`, in characters.
const LONGEST_REASON: usize = 4_000;

/// What executions share.
pub(super) struct Shared<C: Backend> {
    pub(super) calls: Arc<Calls<C>>,
    /// For our own statements.
    pub(super) db: Db<C>,
    /// For functions that work in a transaction; statements have no time limit.
    pub(super) of_functions: Db<C>,
    pub(super) workers: Workers,
    /// The time limit of a function that has none of its own.
    pub(super) timeout: Option<Duration>,
    /// Executions that may end with their process before a call is parked.
    pub(super) crash_limit: Option<u32>,
}

/// An execution that has ended.
pub(super) struct Executed {
    pub(super) outcome: Outcome,
    /// When the function began and how long it ran, if it ran.
    pub(super) ran: Option<(Instant, Duration)>,
}

impl From<Outcome> for Executed {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, ran: None }
    }
}

/// How the reason of an execution begins that panicked, and of one whose time limit has passed.
const PANICKED: &str = "the function panicked";
const TIMED_OUT: &str = "its time limit of";

/// The function panicked.
#[derive(Debug, thiserror::Error)]
#[error("{PANICKED}: {text}", PANICKED = PANICKED, text = .0)]
struct Panicked(String);

/// Why an execution failed, by its reason.
pub(super) fn failure(reason: &str) -> FailedCall {
    if reason.starts_with(PANICKED) {
        FailedCall::Panic
    } else if reason.starts_with(TIMED_OUT) {
        FailedCall::Timeout
    } else {
        FailedCall::Error
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no text)".to_owned());
    Panicked(text).into()
}

/// Aborts its task when it is dropped.
struct Bound<T>(JoinHandle<T>);

impl<T> Drop for Bound<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a call runs alone in its process: its holder's lease has ended before.
pub(super) fn is_suspect(row: &Row) -> bool {
    row.claimed
        .call
        .as_ref()
        .is_some_and(|call| call.crashes > 0)
}

/// The columns of a call, and its function; or the outcome if it cannot be executed.
fn look_up<'a, C: Backend>(
    calls: &'a Calls<C>,
    row: &'a Row,
) -> Result<(&'a CallColumns, &'a Registered<C>), Outcome> {
    let Some(columns) = &row.claimed.call else {
        // Every claimed call has them.
        return Err(Outcome::Unknown);
    };
    let Some(function) = calls.find(&row.claimed.destination) else {
        return Err(Outcome::NotSent { is_cut_off: false });
    };
    if let Some(id) = &row.claimed.bad_id {
        let reason = format!("the id `{}` is not a UUID", id.escape_debug());
        return Err(Outcome::Unsendable(reason));
    }
    if let Some(size) = row.claimed.too_large {
        let reason = format!("the arguments are too large: {size} bytes");
        return Err(Outcome::Unsendable(reason));
    }
    Ok((columns, function))
}

/// Executes a call once.
pub(super) async fn execute<C: Backend>(shared: &Shared<C>, row: &Row) -> Executed {
    let (columns, function) = match look_up(&shared.calls, row) {
        Ok(found) => found,
        Err(outcome) => return outcome.into(),
    };
    if columns.crashes == 0 {
        return run(shared, row, columns, function).await;
    }
    counted(shared, row, columns, function).await
}

/// Executes a call once on this thread and connection, while the caller waits. A function in a transaction settles
/// the row `record` by its token; without one nothing is recorded. An async function runs on `runtime`.
pub(in crate::calls) fn execute_here<C: Backend>(
    calls: &Calls<C>,
    timeout: Option<Duration>,
    runtime: Option<&Handle>,
    conn: &mut C,
    row: &Row,
    record: Option<(Uuid, RowKey)>,
) -> Outcome {
    let prepared = look_up(calls, row)
        .and_then(|(columns, function)| prepare(calls, row, columns, function, timeout));
    let Prepared {
        execution,
        mut context,
        scope,
        timeout,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(outcome) => return outcome,
    };
    context.starts(timeout);
    let started = Instant::now();
    let span = scope.span.clone();
    let outcome = match execution {
        Execution::Async(function) => {
            let Some(runtime) = runtime else {
                return Outcome::NotSent { is_cut_off: false };
            };
            let function = scope.of_future(move || function(context));
            let outcome = wait_for(runtime, in_task(function, timeout)).unwrap_or(Outcome::Unknown);
            record_outcome(&span, &outcome);
            return outcome;
        }
        Execution::Blocking(function) => {
            outcome(caught(|| scope.of_function(|| function(&context))))
        }
        Execution::Transactional(function) => {
            let attempt = transaction::attempt(conn, record, |conn| {
                scope.of_function(|| function(conn, &context))
            });
            let is_dead = attempt.is_doubtful() && conn.ping().is_err();
            of_attempt(attempt.on_connection(is_dead))
        }
    };
    record_outcome(&span, &outcome);
    if timeout.is_some_and(|limit| started.elapsed() > limit) {
        warn_of_limit(row, timeout.unwrap_or_default());
    }
    outcome
}

/// Runs a future on a runtime, and blocks this thread until it ends. Returns `None` if the runtime ends before it.
fn wait_for<T: Send + 'static>(
    runtime: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, done) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // The caller waits.
        let _ = tell.send(future.await);
    });
    match Handle::try_current() {
        // Another thread of the runtime takes over the tasks of this one in the meantime.
        Ok(current) if current.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| done.recv()).ok()
        }
        _ => done.recv().ok(),
    }
}

/// Counts the execution before it starts, so that the count remains if it ends its process.
async fn counted<C: Backend>(
    shared: &Shared<C>,
    row: &Row,
    columns: &CallColumns,
    function: &Registered<C>,
) -> Executed {
    let (token, key) = (row.token, row.row());
    let crashes = u32::try_from(columns.crashes)
        .unwrap_or(0)
        .saturating_sub(1);
    if shared.crash_limit.is_some_and(|limit| crashes >= limit) {
        // The count stays: this process may end before the call is parked. A retry sets it to 0.
        let reason = format!("its process ended while it was executed, {crashes} times in a row");
        return Outcome::Unsendable(reason).into();
    }
    let count = move |conn: &mut C| conn.count_crash(CALLS, token, key);
    let executed = match shared.db.run(count).await {
        Ok(true) => run(shared, row, columns, function).await,
        Ok(false) => return Outcome::Unknown.into(),
        Err(error) => return Outcome::Interrupted(reason(&error.into())).into(),
    };
    let crashes = match executed.outcome {
        Outcome::Recorded => return executed,
        // Perhaps the function has not run: this says nothing about the executions before.
        Outcome::Interrupted(_) | Outcome::NotSent { .. } | Outcome::Unknown => columns.crashes,
        Outcome::Sent | Outcome::Refused(_) | Outcome::Unsendable(_) => 0,
    };
    let take_back = move |conn: &mut C| conn.set_crashes(CALLS, token, key, crashes);
    if let Err(error) = shared.db.run(take_back).await {
        tracing::debug!(id = %row.id(), error = %error, "the count of crashes stays");
    }
    executed
}

/// A call that is ready to run.
struct Prepared<C> {
    execution: Execution<C>,
    context: Context,
    scope: Scope,
    timeout: Option<Duration>,
}

/// Decodes the arguments of a call. `timeout`: the time limit of a function that has none of its own.
fn prepare<C: Backend>(
    calls: &Calls<C>,
    row: &Row,
    columns: &CallColumns,
    function: &Registered<C>,
    timeout: Option<Duration>,
) -> Result<Prepared<C>, Outcome> {
    let args = std::str::from_utf8(&row.body).unwrap_or_default();
    let prepared = (function.prepare)(&StoredArguments {
        encoding: &columns.encoding,
        args: (!args.is_empty()).then_some(args),
        payload: columns.payload.as_deref(),
    });
    let execution = prepared.map_err(|error| Outcome::Unsendable(reason(&error.into())))?;
    let timeout = function.timeout.or(timeout);
    let scope = Scope::of(row);
    let info = CallInfo {
        id: row.id(),
        name: row.claimed.destination.clone(),
        stream: row.claimed.stream.clone(),
        key: row.claimed.key.clone(),
        attempt: attempt(row),
        deadline: None,
        correlation_id: scope.written_id.clone(),
    };
    Ok(Prepared {
        execution,
        context: Context::new(info, Arc::new(calls.states().clone())),
        scope,
        timeout,
    })
}

async fn run<C: Backend>(
    shared: &Shared<C>,
    row: &Row,
    columns: &CallColumns,
    function: &Registered<C>,
) -> Executed {
    let Prepared {
        execution,
        mut context,
        scope,
        timeout,
    } = match prepare(&shared.calls, row, columns, function, shared.timeout) {
        Ok(prepared) => prepared,
        Err(outcome) => return outcome.into(),
    };
    let db = shared.of_functions.clone();
    let span = scope.span.clone();
    let executed = match execution {
        Execution::Async(function) => {
            context.starts(timeout);
            let started = Instant::now();
            let function = scope.of_future(move || function(context));
            let outcome = in_task(function, timeout).await;
            let ran = Some((started, started.elapsed()));
            Executed { outcome, ran }
        }
        Execution::Blocking(function) => {
            let work = move || {
                context.starts(timeout);
                db.in_schema(|| scope.of_function(|| function(&context)))
            };
            let job = shared.workers.run(move || caught(work));
            let finished = on_thread(row, timeout, job).await;
            shared.executed(finished, outcome)
        }
        Execution::Transactional(function) => {
            let record = Some((row.token, row.row()));
            let work = move || {
                context.starts(timeout);
                let work = |conn: &mut C| {
                    transaction::attempt(conn, record, |conn| {
                        scope.of_function(|| function(conn, &context))
                    })
                };
                match db.lend(work, Attempt::is_doubtful) {
                    Ok((attempt, is_dead)) => attempt.on_connection(is_dead),
                    Err(error) => Attempt::Interrupted(error.into()),
                }
            };
            let job = shared.workers.run(work);
            let finished = on_thread(row, timeout, job).await;
            shared.executed(finished, of_attempt)
        }
    };
    record_outcome(&span, &executed.outcome);
    executed
}

impl<C: Backend> Shared<C> {
    /// The result of a function on a thread, if it ran.
    fn executed<T>(
        &self,
        finished: Option<Finished<T>>,
        outcome: impl FnOnce(T) -> Outcome,
    ) -> Executed {
        let Some(finished) = finished else {
            let outcome = match self.workers.is_stopping() {
                true => Outcome::NotSent { is_cut_off: false },
                false => no_thread(),
            };
            return outcome.into();
        };
        Executed {
            outcome: outcome(finished.result),
            ran: Some((finished.started, finished.took)),
        }
    }
}

/// The outcome of an execution in a transaction.
fn of_attempt(attempt: Attempt) -> Outcome {
    match attempt {
        Attempt::Recorded => Outcome::Recorded,
        Attempt::LeaseLost => Outcome::Unknown,
        Attempt::Failed(error) => of_error(&error),
        Attempt::TransactionMisuse(misuse) => Outcome::Unsendable(reason(&misuse.into())),
        Attempt::Interrupted(error) => Outcome::Interrupted(reason(&error)),
    }
}

fn warn_of_limit(row: &Row, limit: Duration) {
    tracing::warn!(
        id = %row.id(),
        name = row.claimed.destination,
        ?limit,
        "a call runs longer than its time limit; a blocking function cannot be ended, so its worker and its \
         lease wait until it returns, and its result counts"
    );
}

/// Waits for a function on a thread. It cannot be ended: after its time limit a line is logged, and its result
/// still counts. Returns `None` if it did not run.
async fn on_thread<T>(row: &Row, timeout: Option<Duration>, job: Job<T>) -> Option<Finished<T>> {
    let mut done = std::pin::pin!(job.done);
    let mut pause = timeout;
    while let (Some(limit), Some(time)) = (timeout, pause) {
        match tokio::time::timeout(time, &mut done).await {
            Ok(done) => return done.ok(),
            // It may have waited for its thread.
            Err(_) => pause = left(limit, job.started.get()),
        }
        if pause.is_none() {
            warn_of_limit(row, limit);
        }
    }
    done.await.ok()
}

/// What is left of a time limit. Returns `None` if it has passed.
fn left(limit: Duration, started: Option<&Instant>) -> Option<Duration> {
    let Some(started) = started else {
        return Some(limit);
    };
    let left = limit.saturating_sub(started.elapsed());
    (!left.is_zero()).then_some(left)
}

/// Runs an async function as a task. It is dropped at its time limit.
async fn in_task(
    function: impl Future<Output = CallResult> + Send + 'static,
    timeout: Option<Duration>,
) -> Outcome {
    let mut task = Bound(tokio::spawn(function));
    let ended = tokio::select! {
        biased;
        ended = &mut task.0 => ended,
        limit = time_limit::passed(timeout) => {
            return Outcome::Refused(format!("{TIMED_OUT} {limit:?} has passed"));
        }
    };
    match ended {
        Ok(result) => outcome(result),
        Err(error) if error.is_panic() => outcome(Err(panicked(&*error.into_panic()))),
        // Only the end of the runtime aborts it.
        Err(_) => Outcome::Unknown,
    }
}

fn caught(work: impl FnOnce() -> CallResult) -> CallResult {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn no_thread() -> Outcome {
    Outcome::Interrupted("no thread could be started for the function".to_owned())
}

fn outcome(result: CallResult) -> Outcome {
    match result {
        Ok(()) => Outcome::Sent,
        Err(error) if fault(error.as_ref(), None) != Fault::Own => {
            Outcome::Interrupted(reason(&error))
        }
        Err(error) => of_error(&error),
    }
}

/// The outcome of a failure by the function itself.
fn of_error(error: &BoxError) -> Outcome {
    if is_permanent(error.as_ref()) {
        Outcome::Unsendable(reason(error))
    } else {
        Outcome::Refused(reason(error))
    }
}

/// An error as a text that every database can store.
fn reason(error: &BoxError) -> String {
    let text = error_text::chain(error).replace('\0', "\\0");
    text.chars().take(LONGEST_REASON).collect()
}
