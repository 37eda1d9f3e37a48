//! What the engine does with a claimed row: it is executed.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::execution::{self, Shared};
use crate::backend::{Backend, RowKey};
use crate::engine::delivery::{Delivery, Event, Outcome, Start};
use crate::engine::row::Row;

type Running = Pin<Box<dyn Future<Output = (Box<Row>, Outcome)> + Send>>;

/// The time for which rows are claimed ahead.
const CLAIM_AHEAD: f64 = 1.0;
/// The weight of the last execution in the mean time of one.
const WEIGHT: f64 = 0.1;

/// Executes rows, up to one for each worker.
pub(super) struct Execute<C: Backend> {
    shared: Arc<Shared<C>>,
    workers: usize,
    running: FuturesUnordered<Running>,
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
            is_exclusive: false,
            is_stopping: false,
            mean: None,
        }
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
        !self.is_stopping && !self.is_exclusive && self.running.len() < self.workers
    }

    fn start(&mut self, row: Box<Row>) -> Start {
        let is_suspect = execution::is_suspect(&row);
        if is_suspect && !self.running.is_empty() {
            return Start::Later(row);
        }
        self.is_exclusive = is_suspect;
        let shared = Arc::clone(&self.shared);
        self.running.push(Box::pin(async move {
            let outcome = execution::execute(&shared, &row).await;
            (row, outcome)
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
        let Some((row, outcome)) = self.running.next().await else {
            return pending().await;
        };
        self.is_exclusive = false;
        if let Some(started) = row.started {
            self.learn(started.elapsed());
        }
        Event::Ended(row, outcome)
    }

    fn stop(&mut self) {
        self.is_stopping = true;
    }

    // Async functions that did not end in time are dropped; a function on a thread cannot be ended.
    async fn close(&mut self) {
        self.running.clear();
    }
}
