//! What the engine does with a claimed row: it is executed.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::execution::{self, Executed, Shared};
use crate::backend::{Backend, RowKey};
use crate::engine::delivery::{Delivery, Event, Start};
use crate::engine::row::Row;

type Running = Pin<Box<dyn Future<Output = (Box<Row>, Executed)> + Send>>;

/// The time for which rows are claimed ahead.
const CLAIM_AHEAD: f64 = 1.0;
/// The weight of the last execution in the mean time of one.
const WEIGHT: f64 = 0.1;
/// The time for which functions may wait for a thread: a thread that has its next function does not wait for the
/// runtime. Longer functions do not wait: a stop would have to wait for them.
const QUEUE_AHEAD: f64 = 0.001;
/// Functions that may wait for each thread.
const LONGEST_QUEUE: usize = 32;

/// Executes rows, up to one at a time for each worker.
pub(super) struct Execute<C: Backend> {
    shared: Arc<Shared<C>>,
    workers: usize,
    running: FuturesUnordered<Running>,
    /// Those of them whose functions are async. They run at once, and so do not wait for a thread.
    running_async: usize,
    /// A suspect runs: it is alone.
    is_exclusive: bool,
    is_stopping: bool,
    /// The mean time of an execution in seconds.
    mean: Option<f64>,
}

impl<C: Backend> Execute<C> {
    pub(super) fn new(shared: Shared<C>, workers: usize) -> Self {
        Self {
            shared: Arc::new(shared),
            workers,
            running: FuturesUnordered::new(),
            running_async: 0,
            is_exclusive: false,
            is_stopping: false,
            mean: None,
        }
    }

    fn is_async(&self, row: &Row) -> bool {
        let function = self.shared.calls.find(&row.claimed.destination);
        function.is_some_and(|function| function.is_async)
    }

    /// How many functions run or wait for each worker at most.
    fn depth(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
        let ahead = self
            .mean
            .map_or(0, |mean| (QUEUE_AHEAD / mean.max(1e-6)) as usize);
        1 + ahead.min(LONGEST_QUEUE)
    }

    fn learn(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let mean = self.mean.unwrap_or(took);
        self.mean = Some(mean + (took - mean) * WEIGHT);
    }
}

impl<C: Backend> Delivery for Execute<C> {
    type Error = Infallible;

    fn open(&mut self) {}

    fn is_ready(&self) -> bool {
        true
    }

    fn has_capacity(&self) -> bool {
        let most = self.workers.saturating_mul(self.depth());
        !self.is_stopping && !self.is_exclusive && self.running.len() < most
    }

    fn start(&mut self, row: Box<Row>) -> Start {
        let is_suspect = execution::is_suspect(&row);
        if is_suspect && !self.running.is_empty() {
            return Start::Later(row);
        }
        // Only threads count what runs on them.
        let is_async = self.is_async(&row);
        if (is_async || self.running_async > 0) && self.running.len() >= self.workers {
            return Start::Later(row);
        }
        self.running_async += usize::from(is_async);
        self.is_exclusive = is_suspect;
        let shared = Arc::clone(&self.shared);
        self.running.push(Box::pin(async move {
            let executed = execution::execute(&shared, &row).await;
            (row, executed)
        }));
        Start::Started
    }

    // As many as the workers execute in a second: claimed rows wait for this executor only.
    fn claim_limit(&self) -> usize {
        let workers = self.workers;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss
        )] // an estimate
        let ahead = self.mean.map_or(0, |mean| {
            (workers as f64 * CLAIM_AHEAD / mean.max(1e-6)) as usize
        });
        ahead.max(workers.saturating_mul(2))
    }

    fn in_flight(&self) -> usize {
        self.running.len()
    }

    fn forget(&mut self, _: RowKey) {}

    async fn event(&mut self) -> Event<Infallible> {
        let Some((mut row, executed)) = self.running.next().await else {
            return pending().await;
        };
        self.is_exclusive = false;
        self.running_async -= usize::from(self.is_async(&row));
        if let Some((started, took)) = executed.ran {
            // Without the time for which it waited for a thread.
            row.started = Some(started.into());
            self.learn(took);
        }
        Event::Ended(row, executed.outcome)
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.shared.workers.stop();
    }

    // Async functions that did not end in time are dropped; a function on a thread cannot be ended.
    async fn close(&mut self) {
        self.running.clear();
        self.running_async = 0;
    }
}
