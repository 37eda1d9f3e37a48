//! Changes that run in the background.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::access::User;
use crate::admin::pooled::ChangedRows;

/// Jobs whose results are kept.
const KEPT: usize = 100;

/// The changes that run, and the last ones that have ended.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<VecDeque<Arc<Job>>>);

/// A change that runs in the background.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: Uuid,
    /// What it does, such as `retry 3 parked rows`.
    pub(super) title: String,
    pub(super) user: User,
    pub(super) began: DateTime<Utc>,
    /// The number of rows or messages to change.
    pub(super) total: u64,
    pub(super) changed: ChangedRows,
    /// The page to go back to.
    pub(super) back: String,
    outcome: watch::Sender<Option<Outcome>>,
}

/// How a job has ended: with a sentence, or with an error.
pub(super) type Outcome = Result<String, String>;

/// What a job is about.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) title: String,
    pub(super) user: User,
    pub(super) total: u64,
    pub(super) back: String,
}

impl Job {
    /// How it has ended, if it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self) {
        // The job itself keeps the sender.
        let _ = self.outcome.subscribe().wait_for(Option::is_some).await;
    }
}

impl Jobs {
    /// Runs a change in a task of the present runtime.
    pub(super) fn start<F>(&self, task: Task, work: impl FnOnce(ChangedRows) -> F) -> Arc<Job>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let changed = ChangedRows::default();
        let job = Arc::new(Job {
            id: Uuid::new_v4(),
            title: task.title,
            user: task.user,
            began: Utc::now(),
            total: task.total,
            changed: changed.clone(),
            back: task.back,
            outcome: watch::Sender::new(None),
        });
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push_back(Arc::clone(&job));
        if jobs.len() > KEPT {
            // One that still runs is not listed any more, and goes on.
            jobs.pop_front();
        }
        drop(jobs);
        let work = tokio::spawn(work(changed));
        let running = Arc::clone(&job);
        tokio::spawn(async move {
            let outcome = match work.await {
                Ok(outcome) => outcome,
                Err(error) => Err(format!("the change was interrupted: {error}")),
            };
            running.outcome.send_replace(Some(outcome));
        });
        job
    }

    /// The job with this id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Job>> {
        let id = Uuid::try_parse(id).ok()?;
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().find(|job| job.id == id).cloned()
    }

    /// The jobs that run.
    pub(super) fn running(&self) -> Vec<Arc<Job>> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = jobs.iter().filter(|job| job.outcome().is_none());
        running.cloned().collect()
    }

    /// Waits until no job runs.
    #[cfg(feature = "cli")]
    pub(super) async fn finish(&self) {
        for job in self.running() {
            job.ended().await;
        }
    }
}
