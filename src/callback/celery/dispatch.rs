//! Runs the task that a message names.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;

use super::error::{CeleryError, shown};
use super::schedule::schedule;
use super::task_message::{TaskMessage, task_name};
use crate::backend::Backend;
use crate::callback::{Outcome, Payload};
use crate::{BoxError, Permanent};

/// A task: it gets a message that may run now.
type Task<C> = dyn Fn(&mut C, TaskMessage, &Payload) -> Result<Outcome, BoxError> + Send + Sync;

/// The tasks of a registry, by their names in Celery.
pub(crate) struct Tasks<C>(BTreeMap<String, Arc<Task<C>>>);

impl<C> Default for Tasks<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<C> Clone for Tasks<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Backend> Tasks<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a task. Returns false if there is one of this name.
    pub(crate) fn add<F>(&mut self, name: &str, task: F) -> bool
    where
        F: Fn(&mut C, TaskMessage, &Payload) -> Result<Outcome, BoxError> + Send + Sync + 'static,
    {
        self.0.insert(name.to_owned(), Arc::new(task)).is_none()
    }

    /// Runs the task of this message, or lets it wait for its eta in the outbox.
    pub(crate) fn run(&self, conn: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
        let name = task_name(payload).map_err(Permanent::new)?;
        let Some(task) = self.0.get(name) else {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            return Err(Permanent::new(CeleryError::Unknown {
                task: shown(name),
                known: known.join(", "),
            })
            .into());
        };
        let message = TaskMessage::read(payload).map_err(Permanent::new)?;
        match message.due(Utc::now()).map_err(Permanent::new)? {
            Some(eta) => schedule(conn, payload, &message, eta),
            None => task(conn, message, payload),
        }
    }
}
