//! `outbox`: the tables, by hand.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::EXIT_CODES;
use super::dead_letters;
use super::run::{Failure, run, run_without_database};
use crate::backend::{Backend, is_uuid};
use crate::cleanup::{Part, delete_older};
use crate::config::{Config, ConnectionArgs, LogArgs};
use crate::db::{Address, Db, DbError, is_contention};
use crate::migrations::{Migrate, Script};

/// Looks after the tables `published` and `received`.
#[derive(Parser)]
#[command(name = "outbox", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Task {
    /// Make the tables, or bring them up to date
    Migrate {
        /// Remove the tables; refused if rows wait, are leased or are parked
        #[arg(long)]
        revert: bool,
        /// With --revert: delete those rows too
        #[arg(long, requires = "revert")]
        force: bool,
        /// Print the SQL for this database instead, and change nothing
        #[arg(long)]
        print: bool,
    },
    /// Delete rows that were sent longer ago, or received
    Clean {
        /// Sent rows: such as 7d, 12h, or 0s for all
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration,
            required_unless_present = "inbox_older_than")]
        older_than: Option<Duration>,
        /// Rows of the inbox: a message that comes again after its row was deleted has its effect twice
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        inbox_older_than: Option<Duration>,
    },
    /// Send parked rows again, with all their attempts
    Retry {
        /// The rows' ids, in any spelling
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All that are parked
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Park rows that wait, so that they are not sent
    Cancel {
        /// The rows' ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Let the later rows of a key go on without these parked rows
    Skip {
        /// The rows' ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Let the rows of a stream wait, whatever relays run
    Pause {
        /// The stream
        #[arg(long, value_name = "NAME", required = true)]
        stream: Vec<String>,
    },
    /// Let the rows of a stream be sent again
    Resume {
        /// The stream
        #[arg(long, value_name = "NAME", required = true)]
        stream: Vec<String>,
    },
    /// Count what is there
    Status,
    /// Look at the messages that a subscriber gave up, send them back, or delete them
    #[command(subcommand)]
    DeadLetters(dead_letters::Task),
}

impl Task {
    /// The ids of rows that were given.
    fn ids(&self) -> &[String] {
        match self {
            Self::Retry { ids, .. } | Self::Cancel { ids } | Self::Skip { ids } => ids,
            _ => &[],
        }
    }
}

/// The program `outbox`.
#[must_use]
pub fn outbox() -> ExitCode {
    let Arguments {
        task,
        connection,
        log,
    } = Arguments::parse();
    let flags = (&connection, &log);
    let task = match task {
        Task::DeadLetters(task) => {
            return run_without_database(&flags, async |config| {
                dead_letters::perform(&config, task).await
            });
        }
        other => other,
    };
    run(
        &flags,
        async |config, address| on_its_connection!(&address, C => perform::<C>(&config, &address, task).await),
    )
}

#[allow(clippy::print_stdout)] // what was asked for
async fn perform<C: Backend + Migrate>(
    config: &Config,
    address: &Address,
    task: Task,
) -> Result<(), Failure> {
    if let Task::Migrate {
        revert,
        print: true,
        ..
    } = task
    {
        print!("{}", sql(C::SCRIPTS, revert));
        return Ok(());
    }
    let db = Db::<C>::new(config, address, 1);
    if let Task::Migrate { revert, force, .. } = task {
        let changed = migrate(&db, revert, force).await?;
        match changed.as_slice() {
            [] => println!("nothing to do"),
            versions => println!(
                "{} {}",
                if revert { "reverted" } else { "applied" },
                versions.join(", ")
            ),
        }
        return Ok(());
    }
    let no_id = task.ids().iter().find(|id| !is_uuid(id));
    match (db.check_tables().await, no_id) {
        (Err(DbError::Tables { .. }), Some(id)) => return Err(not_an_id(id)),
        (checked, _) => checked?,
    }
    match task {
        // Done before.
        Task::Migrate { .. } | Task::DeadLetters(_) => {}
        Task::Clean {
            older_than,
            inbox_older_than,
        } => {
            let (mut sent, mut received) = (0, 0);
            if let Some(age) = older_than {
                sent = delete_older(&db, Part::Outbox, age).await?.published;
            }
            if let Some(age) = inbox_older_than {
                received = delete_older(&db, Part::Inbox, age).await?.received;
            }
            println!("deleted {sent} sent and {received} received");
        }
        Task::Retry { ids, .. } => {
            let chosen = ids.clone();
            let retried = change(&db, move |conn| conn.retry_failed(&ids)).await?;
            println!("{retried} to be sent again");
            all_found(&chosen, retried, "parked rows")?;
        }
        Task::Cancel { ids } => {
            let chosen = ids.clone();
            let cancelled = change(&db, move |conn| conn.cancel(&ids)).await?;
            println!("{cancelled} cancelled");
            all_found(&chosen, cancelled, "rows that wait")?;
        }
        Task::Skip { ids } => {
            let chosen = ids.clone();
            let skipped = change(&db, move |conn| conn.skip_failed(&ids)).await?;
            println!("{skipped} skipped");
            all_found(&chosen, skipped, "parked rows")?;
        }
        Task::Pause { stream } => pause(&db, stream, true).await?,
        Task::Resume { stream } => pause(&db, stream, false).await?,
        Task::Status => {
            let counts = db.run(C::counts).await?;
            println!("waiting   {}", counts.waiting);
            println!("  not due {}", counts.not_due);
            println!("failed    {}", counts.failed);
            println!("sent      {}", counts.sent);
            println!("received  {}", counts.received);
            if let Some(oldest) = counts.oldest_waiting {
                println!("oldest    {}", oldest.to_rfc3339());
            }
            for stream in db.run(C::paused_streams).await? {
                println!("paused    {stream}");
            }
        }
    }
    Ok(())
}

/// Longest wait for a row that another session has locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Changes rows, and waits for locks of other sessions for a while.
async fn change<C: Backend>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> diesel::QueryResult<usize> + Send + 'static,
) -> Result<usize, Failure> {
    let work = move |conn: &mut C| {
        conn.wait_for_locks(LOCK_PATIENCE)?;
        work(conn)
    };
    db.run(work).await.map_err(|error| match error {
        DbError::Statement(error) if is_contention(&error) => Failure::Runtime(format!(
            "nothing was changed: another database session has locked the rows for more than {} s; \
             end that session, or try again ({error})",
            LOCK_PATIENCE.as_secs()
        )),
        other => other.into(),
    })
}

#[allow(clippy::print_stdout)] // what was asked for
async fn pause<C: Backend>(db: &Db<C>, streams: Vec<String>, paused: bool) -> Result<(), Failure> {
    let done = if paused { "paused" } else { "resumed" };
    for stream in streams {
        if stream.is_empty() || stream.chars().count() > 100 || stream.contains('\0') {
            return Err(Failure::usage(
                "a stream has a name of at most 100 characters without U+0000",
            ));
        }
        let name = stream.clone();
        db.run(move |conn| conn.pause_stream(&name, paused)).await?;
        println!("{done} {stream}");
    }
    Ok(())
}

async fn migrate<C: Backend + Migrate>(
    db: &Db<C>,
    revert: bool,
    force: bool,
) -> Result<Vec<String>, Failure> {
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

fn all_found(chosen: &[String], changed: usize, what: &str) -> Result<(), Failure> {
    if changed >= chosen.len() {
        return Ok(());
    }
    match chosen {
        [id] if !is_uuid(id) => Err(not_an_id(id)),
        _ => Err(Failure::Runtime(format!(
            "{} of the ids are not those of {what}",
            chosen.len() - changed
        ))),
    }
}

/// A row may have an id of any form, but one that is not found is more likely a mistake.
fn not_an_id(id: &str) -> Failure {
    Failure::usage(format!(
        "`{}` is neither a UUID nor the id of a row",
        id.escape_debug()
    ))
}

fn sql(scripts: &[Script], revert: bool) -> String {
    let text = |script: &Script| {
        let sql = if revert { script.down } else { script.up };
        format!("-- {}\n{}\n", script.name, in_schema(sql.trim_end()))
    };
    if revert {
        let warning = "-- Deletes all rows, also those that wait, are leased or are parked.\n";
        let scripts = scripts.iter().rev().map(text);
        std::iter::once(warning.to_owned()).chain(scripts).collect()
    } else {
        scripts.iter().map(text).collect()
    }
}

/// SQL with the schema that the settings name; only PostgreSQL has one.
fn in_schema(sql: &str) -> Cow<'_, str> {
    #[cfg(feature = "postgres")]
    return crate::backend::here(sql);
    #[cfg(not(feature = "postgres"))]
    Cow::Borrowed(sql)
}
