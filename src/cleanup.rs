//! Deleting rows that have served: SUCCEEDED ones and those of the inbox, past their retention.

use std::time::Duration;

use crate::backend::{Backend, Table};
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::shutdown::Shutdown;

/// Rows in one DELETE: small enough to hold no lock for long.
const BATCH: i64 = 1_000;
/// The name under which processes agree on whose turn it is.
const JOB: &str = "clean";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often to look whether it is time: well below any interval in use.
const LOOK: Duration = Duration::from_secs(3600);

/// What a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// Rows of `published`.
    pub published: usize,
    /// Rows of `received`.
    pub received: usize,
}

/// Deletes what is old, at most once in the interval, whatever the number of processes.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup<C: Backend> {
    db: Db<C>,
    age: Duration,
    interval: Duration,
}

impl<C: Backend> Cleanup<C> {
    pub(crate) fn new(db: Db<C>, config: &Config) -> Self {
        Self {
            db,
            age: DAY * config.days_to_keep,
            interval: config.cleanup_interval,
        }
    }

    /// Cleans whenever it is time, until `shutdown` is wished for.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = self.once() => {}
                () = shutdown.wished() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval.min(LOOK)) => {}
                () = shutdown.wished() => return,
            }
        }
    }

    /// Cleans where it is time. A failure is told and waits for the next time: nothing depends on
    /// it.
    pub(crate) async fn once(&self) {
        match self.if_due().await {
            Ok(Some(cleaned)) if cleaned == Cleaned::default() => {
                tracing::debug!("no rows are old enough to be deleted");
            }
            Ok(Some(cleaned)) => tracing::info!(
                published = cleaned.published,
                received = cleaned.received,
                "deleted old rows"
            ),
            Ok(None) => {}
            Err(error) => tracing::debug!(error = %error, "old rows were not deleted this time"),
        }
    }

    async fn if_due(&self) -> Result<Option<Cleaned>, DbError> {
        let interval = self.interval;
        if !self
            .db
            .run(move |conn| conn.begin_job(JOB, interval))
            .await?
        {
            return Ok(None);
        }
        delete_older(&self.db, self.age).await.map(Some)
    }
}

/// Deletes all that is older than `age`, in batches, each in a transaction of its own.
pub(crate) async fn delete_older<C: Backend>(
    db: &Db<C>,
    age: Duration,
) -> Result<Cleaned, DbError> {
    let mut cleaned = Cleaned::default();
    for table in [Table::Published, Table::Received, Table::Deliveries] {
        loop {
            let deleted = db
                .run(move |conn| conn.delete_older(table, age, BATCH))
                .await?;
            match table {
                Table::Published => cleaned.published += deleted,
                Table::Received => cleaned.received += deleted,
                // Of messages that never came to their end.
                Table::Deliveries => {}
            }
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(cleaned)
}
