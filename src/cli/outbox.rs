//! `outbox`: administers the tables.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use super::EXIT_CODES;
use super::admin_database::{not_an_id, run_on};
use super::json::Object;
use super::output::Output;
use super::row_changes::{RowChange, Selecting};
use super::run::{Failure, arguments_of, run, run_without_database};
#[cfg(feature = "web")]
use super::web;
use super::{dead_letters, doctor, row_changes, row_details, row_list, status};
use crate::admin::{self, Action, Rows};
use crate::backend::{Backend, is_uuid};
use crate::config::{Config, FlagGroups, Flags, Group};
use crate::db::{Address, Db, DbError};
use crate::migrations::{Migrate, Script};

/// Administers the outbox and the inbox.
#[derive(Parser)]
#[command(name = "outbox", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Print the results as JSON, one object on each line: docs/json.md
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Flags<Groups>,
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[Group::Connection, Group::Management, Group::Log];
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
    /// List rows in the order of writing, with the reasons of failures
    List(row_list::List),
    /// Show rows with their history and headers
    Show(row_details::Show),
    /// Retry parked rows; their attempts count from 0 again
    Retry {
        #[command(flatten)]
        selecting: Selecting,
        /// Send the rows to this destination; signed rows are signed again with `sign` and `signing_keys`
        #[arg(long, value_name = "NEW", conflicts_with = "calls")]
        destination: Option<String>,
    },
    /// Park waiting rows, so that they are not sent
    Cancel(Selecting),
    /// Unblock the keys of parked rows: later rows are sent, the parked ones stay
    Skip(Selecting),
    /// Send rows a second time that were sent: an inbox sees a duplicate, others have the effect twice
    Resend(Selecting),
    /// Delete parked rows; cancelled and expired ones are parked. Their messages are lost
    Delete(Selecting),
    /// Pause a stream: no relay sends its messages, and no executor executes its calls
    Pause {
        /// Name of the stream; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        stream: Vec<String>,
    },
    /// Resume a paused stream: its messages are sent and its calls executed again
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
    /// Check the settings, the database and the broker, and change nothing
    Doctor(doctor::Arguments),
    /// List, show, replay or delete dead letters
    #[command(subcommand)]
    DeadLetters(dead_letters::Task),
    /// Serve pages for operators in a browser
    #[cfg(feature = "web")]
    Web(web::Arguments),
    /// Hash a password for a user of the pages, for the setting `web_users`
    #[cfg(feature = "web")]
    HashPassword(web::HashPassword),
}

impl Task {
    /// The rows that are changed.
    fn selecting(&self) -> Option<&Selecting> {
        match self {
            Self::Retry { selecting, .. }
            | Self::Cancel(selecting)
            | Self::Skip(selecting)
            | Self::Resend(selecting)
            | Self::Delete(selecting) => Some(selecting),
            _ => None,
        }
    }

    /// Whether texts are printed unchanged.
    fn is_raw(&self) -> bool {
        match self {
            Self::Status { raw, .. } => *raw,
            Self::List(list) => list.raw,
            Self::Show(show) => show.raw,
            _ => false,
        }
    }
}

/// The program `outbox`.
#[must_use]
pub fn outbox() -> ExitCode {
    // Settings are accepted before and after the command.
    let mut command = Arguments::command().mut_args(|argument| argument.global(true));
    // `retry` has another `--destination`.
    for name in ["list", "cancel", "skip", "resend", "delete"] {
        command = command.mut_subcommand(name, |command| {
            command.mut_arg("to", |filter| filter.visible_alias("destination"))
        });
    }
    let Arguments {
        task,
        json,
        settings,
    } = arguments_of(command);
    let task = match task {
        Task::DeadLetters(task) => {
            return run_without_database(&settings, async |config| {
                dead_letters::perform(&config, task, json).await
            });
        }
        Task::Doctor(arguments) => return doctor::run(&settings, &arguments, json),
        #[cfg(feature = "web")]
        Task::Web(arguments) => return web::run(&settings, &arguments, json),
        #[cfg(feature = "web")]
        Task::HashPassword(arguments) => return web::print_user(&arguments, json),
        other => other,
    };
    run(
        &settings,
        async |config, address| on_its_connection!(&address, C => perform::<C>(&config, &address, task, json).await),
    )
}

async fn perform<C: Backend + Migrate>(
    config: &Config,
    address: &Address,
    task: Task,
    is_json: bool,
) -> Result<(), Failure> {
    let mut out = Output::new(task.is_raw()).with_json(is_json);
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
        let sql = sql::<C>(revert);
        out.result(sql.trim_end(), || Object::new().with("sql", sql.trim_end()));
        return Ok(());
    }
    if let Task::Migrate { revert, force, .. } = task {
        let db = match revert {
            false => Db::<C>::creating(config, address),
            true => Db::<C>::new(config, address, 1),
        };
        db.check_sessions().await?;
        let changed = migrate(&db, revert, force).await?;
        let done = if revert { "reverted" } else { "applied" };
        let line = match changed.as_slice() {
            [] => "nothing to do".to_owned(),
            versions => format!("{done} {}", versions.join(", ")),
        };
        out.result(line, || Object::new().with(done, &changed));
        return Ok(());
    }
    let selecting = task.selecting();
    selecting.map_or(Ok(()), Selecting::check)?;
    let db = Db::<C>::new(config, address, 1);
    let no_id = selecting.and_then(|selecting| selecting.ids.iter().find(|id| !is_uuid(id)));
    match (db.check_tables().await, no_id) {
        (Err(DbError::Tables { .. }), Some(id)) => return Err(not_an_id(id)),
        (checked, _) => checked?,
    }
    match task {
        // Handled above.
        Task::Migrate { .. } | Task::DeadLetters(_) | Task::Doctor(_) => {}
        #[cfg(feature = "web")]
        Task::Web(_) | Task::HashPassword(_) => {}
        Task::Clean {
            calls,
            older_than,
            inbox_older_than,
        } => {
            let (mut deleted, mut received) = (0, 0);
            if let Some(age) = older_than {
                deleted = run_on(&db, move |conn| Rows::of(calls).clean(conn, age)).await?;
            }
            if let Some(age) = inbox_older_than {
                received = run_on(&db, move |conn| admin::clean_inbox(conn, age)).await?;
            }
            let done = if calls { "executed" } else { "sent" };
            out.result(
                format_args!("deleted {deleted} {done} and {received} received"),
                || {
                    let deleted = Object::new().with("deleted", deleted);
                    deleted.with("inbox_deleted", received)
                },
            );
        }
        Task::List(list) => row_list::perform(&db, list, out).await?,
        Task::Show(show) => row_details::perform(&db, show, out).await?,
        Task::Retry {
            selecting,
            destination,
        } => {
            let row_change = RowChange {
                action: Action::Retry,
                selecting,
                destination,
            };
            row_changes::perform(&db, row_change, out).await?;
        }
        Task::Cancel(selecting) => change(&db, Action::Cancel, selecting, out).await?,
        Task::Skip(selecting) => change(&db, Action::Skip, selecting, out).await?,
        Task::Resend(selecting) => change(&db, Action::Resend, selecting, out).await?,
        Task::Delete(selecting) => change(&db, Action::Delete, selecting, out).await?,
        Task::Pause { stream } => set_paused(&db, stream, true, out).await?,
        Task::Resume { stream } => set_paused(&db, stream, false, out).await?,
        Task::Status { calls, .. } => {
            let (status, totals) = run_on(&db, move |conn| {
                let rows = if calls { Rows::Calls } else { Rows::Messages };
                Ok((rows.status(conn)?, admin::totals(conn)?))
            })
            .await?;
            status::print(out, &status, &totals, calls);
        }
    }
    Ok(())
}

/// Changes rows, all of which keep their destinations.
async fn change<C: Backend>(
    db: &Db<C>,
    action: Action,
    selecting: Selecting,
    out: &mut Output,
) -> Result<(), Failure> {
    let row_change = RowChange {
        action,
        selecting,
        destination: None,
    };
    row_changes::perform(db, row_change, out).await
}

/// Pauses or resumes streams.
async fn set_paused<C: Backend>(
    db: &Db<C>,
    streams: Vec<String>,
    is_paused: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let done = if is_paused { "paused" } else { "resumed" };
    for name in &streams {
        let stream = name.clone();
        run_on(db, move |conn| match is_paused {
            true => admin::pause_stream(conn, &stream),
            false => admin::resume_stream(conn, &stream),
        })
        .await?;
        if !out.is_json() {
            let line = format!("{done} {}", out.text(name));
            out.line(line);
        }
    }
    if out.is_json() {
        out.object(&Object::new().with(done, &streams));
    }
    Ok(())
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
