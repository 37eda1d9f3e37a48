//! What the pages share.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rand::Rng as _;
use tokio::sync::Mutex;

use super::access::{Access, User, digest};
use super::jobs::Jobs;
use super::pending::PendingChanges;
use super::processes::Processes;
use super::redaction::Redaction;
use super::samples::{INTERVAL, Samples};
use super::store::Store;
#[cfg(feature = "cli")]
use crate::admin::pooled::PooledError;
use crate::backend::Change;
use crate::config::Config;

/// What the pages share.
pub(crate) struct Site {
    pub(super) store: Arc<dyn Store>,
    pub(super) config: Config,
    pub(super) access: Access,
    pub(super) is_read_only: bool,
    pub(super) redaction: Redaction,
    pub(super) samples: Samples,
    pub(super) jobs: Jobs,
    pub(super) pending: PendingChanges,
    pub(super) processes: Processes,
    /// One pass over dead letters at a time: two would hide messages from each other.
    pub(super) dead_letters: Mutex<()>,
    /// The checks run for one user at a time.
    #[cfg(feature = "cli")]
    pub(super) checks: Mutex<()>,
    is_sampling: AtomicBool,
    form_key: [u8; 32],
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("access", &self.access)
            .field("is_read_only", &self.is_read_only)
            .finish_non_exhaustive()
    }
}

impl Site {
    pub(super) fn new(
        store: Arc<dyn Store>,
        config: Config,
        access: Access,
        is_read_only: bool,
    ) -> Self {
        Self {
            store,
            redaction: Redaction::new(&config.web_redact),
            config,
            access,
            is_read_only,
            samples: Samples::default(),
            jobs: Jobs::default(),
            pending: PendingChanges::default(),
            processes: Processes::default(),
            dead_letters: Mutex::default(),
            #[cfg(feature = "cli")]
            checks: Mutex::default(),
            is_sampling: AtomicBool::new(false),
            form_key: rand::rng().random(),
        }
    }

    /// The token of the forms of a user. A page of another site does not know it.
    pub(super) fn form_token(&self, user: &User) -> String {
        let digest = digest(&self.form_key, &["form", &user.0]);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Records the numbers in a task of the present runtime, until the pages are gone. Does nothing if it has started
    /// before.
    pub(super) fn start_sampling(self: &Arc<Self>) {
        if self.is_sampling.swap(true, Ordering::Relaxed) {
            return;
        }
        let site = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut rounds = tokio::time::interval(INTERVAL);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                let Some(site) = Weak::upgrade(&site) else {
                    return;
                };
                let addresses = &site.config.web_processes;
                tokio::join!(
                    site.samples.take(&*site.store),
                    site.processes.ask(addresses)
                );
            }
        });
    }

    /// Records a change: in the log, and in the table if the settings say so.
    pub(super) async fn record(&self, change: Change) {
        match &change.error {
            None => tracing::info!(
                user = change.user,
                action = change.action,
                target = change.target,
                details = change.details,
                changed = change.changed,
                "changed on a page"
            ),
            Some(error) => tracing::error!(
                user = change.user,
                action = change.action,
                target = change.target,
                details = change.details,
                changed = change.changed,
                error,
                "a change on a page failed"
            ),
        }
        if !self.config.web_trail {
            return;
        }
        if let Err(error) = self.store.record(change).await {
            tracing::error!(error = %error, "could not record a change in the table outbox_trail");
        }
    }

    /// Fails if the tables cannot be used.
    #[cfg(feature = "cli")]
    pub(crate) async fn check(&self) -> Result<(), crate::db::DbError> {
        self.store.check().await?;
        if self.config.web_trail
            && let Err(PooledError::Database(error)) = self.store.last_changes(1).await
        {
            return Err(error);
        }
        Ok(())
    }

    /// Waits for changes that are under way.
    #[cfg(feature = "cli")]
    pub(crate) async fn finish(&self) {
        self.jobs.finish().await;
    }
}
