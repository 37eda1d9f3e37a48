//! `outbox`: administers the tables.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use super::EXIT_CODES;
use super::dead_letters;
use super::output::Output;
use super::run::{Failure, arguments_of, run, run_without_database};
use super::status;
use crate::admin::{self, AdminError, Changed, Rows, Unchanged};
use crate::backend::{Backend, is_uuid};
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::db::{Address, Db, DbError, is_contention};
use crate::migrations::{Migrate, Script};

/// Administers the outbox and the inbox.
#[derive(Parser)]
#[command(name = "outbox", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    settings: Flags<Groups>,
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[Group::Connection, Group::Log];
}

#[derive(Subcommand)]
enum Task {
    /// Create or update the tables
    Migrate {
        /// Drop the tables; refused if rows wait, are leased or are parked
        #[arg(long)]
        revert: bool,
        /// With --revert: drop the tables even if they contain such rows
        #[arg(long, requires = "revert")]
        force: bool,
        /// Print the SQL for this database, and change nothing
        #[arg(long)]
        print: bool,
    },
    /// Delete old rows: sent ones, executed calls, or those of the inbox
    Clean {
        /// With --older-than: executed function calls, not messages
        #[arg(long, requires = "older_than")]
        calls: bool,
        /// Minimum age of sent rows, such as 7d or 12h; 0s: all
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration,
            required_unless_present = "inbox_older_than")]
        older_than: Option<Duration>,
        /// Minimum age of rows of the inbox; a message that is redelivered later has its effect again
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        inbox_older_than: Option<Duration>,
    },
    /// Retry parked rows; their attempts count from 0 again
    Retry {
        /// Function calls, not messages
        #[arg(long)]
        calls: bool,
        /// Ids of the rows, in any spelling
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All parked rows
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Park waiting rows, so that they are not sent
    Cancel {
        /// Function calls, not messages
        #[arg(long)]
        calls: bool,
        /// Ids of the rows
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Unblock the keys of parked rows: later rows are sent, the parked ones stay
    Skip {
        /// Function calls, not messages
        #[arg(long)]
        calls: bool,
        /// Ids of the rows
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Pause a stream: no relay sends its rows
    Pause {
        /// Name of the stream; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        stream: Vec<String>,
    },
    /// Resume a paused stream
    Resume {
        /// Name of the stream; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        stream: Vec<String>,
    },
    /// Count the rows in each state, and list why rows are retried, who has leased rows, and the streams
    ///
    /// Each count stops at 100,000. Of more waiting rows only the oldest 100,000 are looked at.
    Status {
        /// Function calls, not messages
        #[arg(long)]
        calls: bool,
        /// Print names unchanged; without it, a terminal gets their control characters escaped
        #[arg(long)]
        raw: bool,
    },
    /// List, show, replay or delete dead letters
    #[command(subcommand)]
    DeadLetters(dead_letters::Task),
}

impl Task {
    /// The ids among the arguments.
    fn ids(&self) -> &[String] {
        match self {
            Self::Retry { ids, .. } | Self::Cancel { ids, .. } | Self::Skip { ids, .. } => ids,
            _ => &[],
        }
    }
}

/// The program `outbox`.
#[must_use]
pub fn outbox() -> ExitCode {
    // Settings are accepted before and after the command.
    let command = Arguments::command().mut_args(|argument| argument.global(true));
    let Arguments { task, settings } = arguments_of(command);
    let task = match task {
        Task::DeadLetters(task) => {
            return run_without_database(&settings, async |config| {
                dead_letters::perform(&config, task).await
            });
        }
        other => other,
    };
    run(
        &settings,
        async |config, address| on_its_connection!(&address, C => perform::<C>(&config, &address, task).await),
    )
}

async fn perform<C: Backend + Migrate>(
    config: &Config,
    address: &Address,
    task: Task,
) -> Result<(), Failure> {
    let mut out = Output::new(matches!(task, Task::Status { raw: true, .. }));
    let outcome = work::<C>(config, address, task, &mut out).await;
    outcome.and(out.finish())
}

async fn work<C: Backend + Migrate>(
    config: &Config,
    address: &Address,
    task: Task,
    out: &mut Output,
) -> Result<(), Failure> {
    if let Task::Migrate {
        revert,
        print: true,
        ..
    } = task
    {
        out.line(sql::<C>(revert).trim_end());
        return Ok(());
    }
    if let Task::Migrate { revert, force, .. } = task {
        let db = match revert {
            false => Db::<C>::creating(config, address),
            true => Db::<C>::new(config, address, 1),
        };
        db.check_sessions().await?;
        let changed = migrate(&db, revert, force).await?;
        match changed.as_slice() {
            [] => out.line("nothing to do"),
            versions => {
                let done = if revert { "reverted" } else { "applied" };
                out.line(format_args!("{done} {}", versions.join(", ")));
            }
        }
        return Ok(());
    }
    let db = Db::<C>::new(config, address, 1);
    let no_id = task.ids().iter().find(|id| !is_uuid(id));
    match (db.check_tables().await, no_id) {
        (Err(DbError::Tables { .. }), Some(id)) => return Err(not_an_id(id)),
        (checked, _) => checked?,
    }
    match task {
        // Handled above.
        Task::Migrate { .. } | Task::DeadLetters(_) => {}
        Task::Clean {
            calls,
            older_than,
            inbox_older_than,
        } => {
            let (mut deleted, mut received) = (0, 0);
            if let Some(age) = older_than {
                deleted = run_on(&db, move |conn| rows(calls).clean(conn, age)).await?;
            }
            if let Some(age) = inbox_older_than {
                received = run_on(&db, move |conn| admin::clean_inbox(conn, age)).await?;
            }
            out.line(format_args!(
                "deleted {deleted} {} and {received} received",
                done(calls)
            ));
        }
        Task::Retry {
            calls, all: true, ..
        } => {
            let retried = change(&db, move |conn| rows(calls).retry_all(conn)).await?;
            out.line(format_args!("{retried} to be {} again", done(calls)));
        }
        Task::Retry { calls, ids, .. } => {
            let changed = change(&db, move |conn| rows(calls).retry(conn, ids)).await?;
            out.line(format_args!("{} to be {} again", changed.rows, done(calls)));
            require_all(&changed, "parked rows")?;
        }
        Task::Cancel { calls, ids } => {
            let changed = change(&db, move |conn| rows(calls).cancel(conn, ids)).await?;
            out.line(format_args!("{} cancelled", changed.rows));
            require_all(&changed, "rows that wait")?;
        }
        Task::Skip { calls, ids } => {
            let changed = change(&db, move |conn| rows(calls).skip(conn, ids)).await?;
            out.line(format_args!("{} skipped", changed.rows));
            require_all(&changed, "parked rows")?;
        }
        Task::Pause { stream } => {
            for name in stream {
                let line = format!("paused {}", out.text(&name));
                run_on(&db, move |conn| admin::pause_stream(conn, &name)).await?;
                out.line(line);
            }
        }
        Task::Resume { stream } => {
            for name in stream {
                let line = format!("resumed {}", out.text(&name));
                run_on(&db, move |conn| admin::resume_stream(conn, &name)).await?;
                out.line(line);
            }
        }
        Task::Status { calls, .. } => {
            let (status, totals) = run_on(&db, move |conn| {
                Ok((rows(calls).status(conn)?, admin::totals(conn)?))
            })
            .await?;
            status::print(out, &status, &totals, calls);
        }
    }
    Ok(())
}

/// Which rows a command is on.
fn rows(calls: bool) -> Rows {
    if calls { Rows::Calls } else { Rows::Messages }
}

/// The word for a row of that kind that succeeded.
fn done(calls: bool) -> &'static str {
    if calls { "executed" } else { "sent" }
}

/// Runs an operation on a connection of the pool.
async fn attempt<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<Result<T, AdminError>, DbError> {
    // The pool checks its connection after a failed statement.
    let work = move |conn: &mut C| match work(conn) {
        Err(AdminError::Database(error) | AdminError::Tables(error)) => Err(error),
        other => Ok(other),
    };
    db.run(work).await
}

/// Runs an operation; waits for locks as long as the database does.
async fn run_on<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    attempt(db, work).await?.map_err(Failure::usage)
}

/// Maximum wait for a row that another session has locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Changes rows. Waits for the locks of other sessions for [`LOCK_PATIENCE`].
async fn change<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failure> {
    let work = move |conn: &mut C| {
        conn.wait_for_locks(LOCK_PATIENCE)?;
        work(conn)
    };
    let changed = attempt(db, work).await.map_err(|error| match error {
        DbError::Statement(error) if is_contention(&error) => Failure::runtime(format!(
            "nothing was changed: another database session has locked the rows for more than {} s; \
             end that session, or try again ({error})",
            LOCK_PATIENCE.as_secs()
        )),
        other => other.into(),
    })?;
    changed.map_err(Failure::usage)
}

/// Fails if some ids' rows were not changed. `what` are the rows that can be changed.
fn require_all(changed: &Changed, what: &str) -> Result<(), Failure> {
    const MOST: usize = 20;
    match changed.unchanged.as_slice() {
        [] => return Ok(()),
        [only] if changed.rows == 0 && only.state.is_none() && !is_uuid(&only.id) => {
            return Err(not_an_id(&only.id));
        }
        _ => {}
    }
    let others = &changed.unchanged;
    let mut list: Vec<String> = others.iter().take(MOST).map(Unchanged::to_string).collect();
    if others.len() > MOST {
        list.push(format!("and {} more", others.len() - MOST));
    }
    Err(Failure::runtime(format!(
        "{} of the ids are not those of {what}: {}",
        others.len(),
        list.join(", ")
    )))
}

async fn migrate<C: Backend + Migrate>(
    db: &Db<C>,
    revert: bool,
    force: bool,
) -> Result<Vec<String>, Failure> {
    db.check_connection().await?;
    let db = db.clone();
    let work = move || {
        db.lend(
            |conn| match (revert, force) {
                (false, _) => conn.migrate(),
                (true, false) => conn.revert(),
                (true, true) => conn.force_revert(),
            },
            Result::is_err,
        )
    };
    let (changed, _) = tokio::task::spawn_blocking(work)
        .await
        .map_err(Failure::runtime)??;
    changed.map_err(Failure::runtime)
}

/// The error for an id that is not a UUID and not found. A row may have an id of any form, but such an id is
/// more likely a mistake.
fn not_an_id(id: &str) -> Failure {
    Failure::usage(format!(
        "`{}` is neither a UUID nor the id of a row",
        id.escape_debug()
    ))
}

fn sql<C: Backend + Migrate>(revert: bool) -> String {
    let scripts = C::SCRIPTS;
    let text = |script: &Script| {
        let sql = if revert { script.down } else { script.up };
        format!(
            "-- {}\n{}\n",
            script.name,
            C::in_named_schema(sql.trim_end())
        )
    };
    if revert {
        let warning = "-- Deletes all rows, including those that wait, are leased or are parked.\n";
        let scripts = scripts.iter().rev().map(text);
        std::iter::once(warning.to_owned()).chain(scripts).collect()
    } else {
        scripts.iter().map(text).collect()
    }
}
