//! Deletes rows after their retention time: SUCCEEDED rows of the outbox, and rows of the inbox.

use std::time::Duration;

use crate::backend::{Backend, Table};
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::metrics::{CLEANED, counter};
use crate::runtime::shutdown::Shutdown;

/// Rows in one DELETE: few enough to hold locks only for a short time.
const BATCH: i64 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often to check whether a clean-up is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// Shortest retention of the inbox, in days. Relays send a row again after a lost receipt, and brokers redeliver
/// after a lost connection, each up to hours later.
pub(crate) const LEAST_INBOX_DAYS: u32 = 1;
/// Prefix of the jobs by which subscribers state how many days they need the inbox to be kept.
const KEEP_INBOX: &str = "keep_inbox:";
/// How long such a statement is valid after its subscriber last ran: longer than a weekend.
const STATEMENT_VALID: Duration = Duration::from_secs(3 * 24 * 3600);

/// The numbers of rows that a clean-up deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// Rows of `published`.
    pub published: usize,
    /// Rows of `received`.
    pub received: usize,
    /// Rows of `outbox_calls`.
    pub calls: usize,
}

/// The part of the tables that a clean-up deletes from; each has its own retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Sent rows.
    Outbox,
    /// Executed calls.
    #[cfg(feature = "calls")]
    Calls,
    /// Received messages, and the counts of redeliveries.
    Inbox,
}

impl Part {
    /// The name of the job that processes share.
    fn job(self) -> &'static str {
        match self {
            Self::Outbox => "clean",
            #[cfg(feature = "calls")]
            Self::Calls => "clean_calls",
            Self::Inbox => "clean_inbox",
        }
    }

    /// The name in log lines.
    fn name(self) -> &'static str {
        match self {
            Self::Outbox => "published",
            #[cfg(feature = "calls")]
            Self::Calls => "outbox_calls",
            Self::Inbox => "received",
        }
    }

    fn tables(self) -> &'static [Table] {
        match self {
            Self::Outbox => &[Table::Published],
            #[cfg(feature = "calls")]
            Self::Calls => &[Table::Calls],
            // Counts of redeliveries are deleted too: their messages were never handled.
            Self::Inbox => &[Table::Received, Table::Deliveries],
        }
    }
}

/// Deletes old rows of one part, at most once in each interval, for any number of processes.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup<C: Backend> {
    db: Db<C>,
    part: Part,
    days: u32,
    interval: Duration,
}

impl<C: Backend> Cleanup<C> {
    /// For a relay, which cleans the outbox only.
    pub(crate) fn of_outbox(db: Db<C>, config: &Config) -> Self {
        Self {
            db,
            part: Part::Outbox,
            days: config.days_to_keep,
            interval: config.cleanup_interval,
        }
    }

    /// For an executor, which cleans the calls only.
    #[cfg(feature = "calls")]
    pub(crate) fn of_calls(db: Db<C>, config: &Config) -> Self {
        Self {
            part: Part::Calls,
            ..Self::of_outbox(db, config)
        }
    }

    /// For a subscriber, which cleans the inbox only.
    pub(crate) fn of_inbox(db: Db<C>, config: &Config) -> Self {
        let days = config.inbox_days_to_keep;
        if days < LEAST_INBOX_DAYS {
            tracing::warn!(
                inbox_days_to_keep = days,
                "the inbox is kept for 1 day instead: a message that is redelivered after its row was deleted \
                 has its effect twice"
            );
        }
        Self {
            db,
            part: Part::Inbox,
            days: days.max(LEAST_INBOX_DAYS),
            interval: config.cleanup_interval,
        }
    }

    /// Cleans whenever it is due, until `shutdown` is requested.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = self.once() => {}
                () = shutdown.requested() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval.min(CHECK_INTERVAL)) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Cleans if it is due. After a failure it is due again within the hour.
    pub(crate) async fn once(&self) {
        match self.if_due().await {
            Ok(Some(cleaned)) if cleaned == Cleaned::default() => {
                tracing::debug!("no rows are old enough to be deleted");
            }
            Ok(Some(cleaned)) => tracing::info!(
                published = cleaned.published,
                received = cleaned.received,
                calls = cleaned.calls,
                "deleted old rows"
            ),
            Ok(None) => {}
            // The relay or the subscriber logs the outage.
            Err(error) if error.is_outage() => {
                tracing::debug!(error = %error, "old rows were not deleted; trying again within the hour");
            }
            Err(error) => {
                let part = self.part.name();
                tracing::warn!(part, error = %error, "old rows were not deleted; trying again within the hour");
            }
        }
    }

    async fn if_due(&self) -> Result<Option<Cleaned>, DbError> {
        if self.part == Part::Inbox {
            self.state_days().await?;
        }
        let (job, interval) = (self.part.job(), self.interval);
        if !self
            .db
            .run(move |conn| conn.begin_job(job, interval))
            .await?
        {
            return Ok(None);
        }
        let cleaned = self.clean().await;
        if cleaned.is_err() {
            let pause = interval.min(CHECK_INTERVAL);
            let postponed = self
                .db
                .run(move |conn| conn.postpone_job(job, interval, pause))
                .await;
            if let Err(error) = postponed {
                tracing::debug!(error = %error, "could not bring the next clean-up forward");
            }
        }
        cleaned.map(Some)
    }

    async fn clean(&self) -> Result<Cleaned, DbError> {
        let days = match self.part {
            Part::Inbox => self.longest().await?,
            _ => self.days,
        };
        delete_older(&self.db, self.part, DAY * days).await
    }

    /// States how long this subscriber needs the inbox to be kept.
    async fn state_days(&self) -> Result<(), DbError> {
        let word = format!("{KEEP_INBOX}{}", self.days);
        self.db
            .run(move |conn| conn.begin_job(&word, Duration::ZERO))
            .await
            .map(drop)
    }

    /// The longest time, in days, that a subscriber of this database needs the inbox to be kept.
    async fn longest(&self) -> Result<u32, DbError> {
        let jobs = self
            .db
            .run(|conn| conn.jobs_within(STATEMENT_VALID))
            .await?;
        let said = jobs
            .iter()
            .filter_map(|name| name.strip_prefix(KEEP_INBOX)?.parse().ok());
        Ok(said.fold(self.days, u32::max))
    }
}

/// The name of a table in the count of deleted rows.
fn counted_name(table: Table) -> Option<&'static str> {
    match table {
        Table::Published => Some("published"),
        Table::Received => Some("received"),
        Table::Calls => Some("outbox_calls"),
        Table::Deliveries => None,
    }
}

/// Deletes the rows of a part that are older than `age`, in batches, each in its own transaction. Rows that
/// reach this age in the meantime are left for the next clean-up, so that it ends.
async fn delete_older<C: Backend>(
    db: &Db<C>,
    part: Part,
    age: Duration,
) -> Result<Cleaned, DbError> {
    let mut cleaned = Cleaned::default();
    let moment = db.run(move |conn| conn.ago(age)).await?;
    for table in part.tables().iter().copied() {
        loop {
            let deleted = db
                .run(move |conn| conn.delete_until(table, moment, BATCH))
                .await?;
            if let Some(name) = counted_name(table) {
                counter(CLEANED, &[name]).increment(deleted as u64);
            }
            match table {
                Table::Published => cleaned.published += deleted,
                Table::Received => cleaned.received += deleted,
                Table::Calls => cleaned.calls += deleted,
                Table::Deliveries => {}
            }
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(cleaned)
}
