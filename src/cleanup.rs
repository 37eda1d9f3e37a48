//! Deleting rows that have served: SUCCEEDED ones and those of the inbox, past their retention.

use std::time::Duration;

use crate::backend::{Backend, Table};
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::shutdown::Shutdown;

/// Rows in one DELETE: small enough to hold no lock for long.
const BATCH: i64 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often to look whether it is time: well below any interval in use.
const LOOK: Duration = Duration::from_secs(3600);
/// Shortest retention of the inbox, in days. Relays send a row again after a lost receipt, and brokers
/// deliver a message again after a lost connection, each up to hours later.
const LEAST_INBOX_DAYS: u32 = 1;
/// What the jobs are named by which subscribers say how many days they want the inbox to be kept.
const KEEP_INBOX: &str = "keep_inbox:";
/// How long such a word holds after its subscriber was last there: over a weekend.
const WORD_HOLDS: Duration = Duration::from_secs(3 * 24 * 3600);

/// What a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// Rows of `published`.
    pub published: usize,
    /// Rows of `received`.
    pub received: usize,
}

/// One of the two parts that have a retention of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rows that were sent.
    Outbox,
    /// Messages that were received, and what is counted of those that came again.
    Inbox,
}

impl Part {
    /// The name under which processes agree on whose turn it is.
    fn job(self) -> &'static str {
        match self {
            Self::Outbox => "clean",
            Self::Inbox => "clean_inbox",
        }
    }

    fn tables(self) -> &'static [Table] {
        match self {
            Self::Outbox => &[Table::Published],
            // Those that are counted never came to their end.
            Self::Inbox => &[Table::Received, Table::Deliveries],
        }
    }
}

/// Deletes what is old of one part, at most once in the interval, whatever the number of processes.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup<C: Backend> {
    db: Db<C>,
    part: Part,
    days: u32,
    interval: Duration,
}

impl<C: Backend> Cleanup<C> {
    /// For a relay, which has no say in what the inbox keeps.
    pub(crate) fn of_outbox(db: Db<C>, config: &Config) -> Self {
        Self {
            db,
            part: Part::Outbox,
            days: config.days_to_keep,
            interval: config.cleanup_interval,
        }
    }

    /// For a subscriber, which has no say in what the outbox keeps.
    pub(crate) fn of_inbox(db: Db<C>, config: &Config) -> Self {
        let days = config.inbox_days_to_keep;
        if days < LEAST_INBOX_DAYS {
            tracing::warn!(
                inbox_days_to_keep = days,
                "the inbox is kept for 1 day: a message that is delivered again after its row was \
                 deleted has its effect twice"
            );
        }
        Self {
            db,
            part: Part::Inbox,
            days: days.max(LEAST_INBOX_DAYS),
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
        if self.part == Part::Inbox {
            self.say_how_long().await?;
        }
        let (job, interval) = (self.part.job(), self.interval);
        if !self
            .db
            .run(move |conn| conn.begin_job(job, interval))
            .await?
        {
            return Ok(None);
        }
        let days = match self.part {
            Part::Outbox => self.days,
            Part::Inbox => self.longest().await?,
        };
        delete_older(&self.db, self.part, DAY * days)
            .await
            .map(Some)
    }

    /// Says how long this subscriber wants the inbox to be kept.
    async fn say_how_long(&self) -> Result<(), DbError> {
        let word = format!("{KEEP_INBOX}{}", self.days);
        self.db
            .run(move |conn| conn.begin_job(&word, Duration::ZERO))
            .await
            .map(drop)
    }

    /// How long the one that wants it longest of all subscribers of this database wants it.
    async fn longest(&self) -> Result<u32, DbError> {
        let jobs = self.db.run(|conn| conn.jobs_within(WORD_HOLDS)).await?;
        let said = jobs
            .iter()
            .filter_map(|name| name.strip_prefix(KEEP_INBOX)?.parse().ok());
        Ok(said.fold(self.days, u32::max))
    }
}

/// Deletes all of a part that is older than `age`, in batches, each in a transaction of its own.
pub(crate) async fn delete_older<C: Backend>(
    db: &Db<C>,
    part: Part,
    age: Duration,
) -> Result<Cleaned, DbError> {
    let mut cleaned = Cleaned::default();
    for table in part.tables().iter().copied() {
        loop {
            let deleted = db
                .run(move |conn| conn.delete_older(table, age, BATCH))
                .await?;
            match table {
                Table::Published => cleaned.published += deleted,
                Table::Received => cleaned.received += deleted,
                Table::Deliveries => {}
            }
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(cleaned)
}
