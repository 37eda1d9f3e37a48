//! `outbox dead-letters`: lists, shows, replays and deletes dead letters.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::json::Object;
use super::logging::BARS;
use super::output::Output;
use super::row_table::{one_line, table};
use super::run::Failure;
use crate::admin::dead_letters::{DeadLetter, DeadLetters, DeadLettersError, Selection, Summary};
use crate::config::Config;
use crate::message::dead_letter_headers::ATTEMPTS;

#[derive(Subcommand)]
pub(super) enum Task {
    /// List dead letters with the reasons
    List {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
        #[command(flatten)]
        view: View,
    },
    /// Show headers and bodies of dead letters
    Show {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
        #[command(flatten)]
        view: View,
    },
    /// Send dead letters back to their queue
    Replay {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
        #[command(flatten)]
        change: Change,
    },
    /// Delete dead letters
    Drop {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args)]
pub(super) struct Of {
    /// Queue whose subscriber could not handle the messages: its name, or /queue/NAME
    queue: String,
    /// Queue that contains the dead letters, such as ActiveMQ.DLQ [default: DLQ.<queue>]
    #[arg(long, value_name = "QUEUE")]
    from: Option<String>,
}

#[derive(Args)]
pub(super) struct Choosing {
    /// Id of a message; may be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Only messages whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only messages whose last failure is longer ago, such as 2h; those without a time are left out
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Maximum number of messages
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl Choosing {
    fn is_all(&self) -> bool {
        self.id.is_empty()
            && self.error.is_none()
            && self.older_than.is_none()
            && self.limit.is_none()
    }
}

impl From<Choosing> for Selection {
    fn from(choosing: Choosing) -> Self {
        let mut selection = choosing.id.into_iter().fold(Self::all(), Self::id);
        if let Some(part) = choosing.error {
            selection = selection.error(part);
        }
        if let Some(age) = choosing.older_than {
            selection = selection.older_than(age);
        }
        if let Some(messages) = choosing.limit {
            selection = selection.limit(messages);
        }
        selection
    }
}

#[derive(Args)]
pub(super) struct View {
    /// Print texts and bodies unchanged; without it, a terminal gets their control characters escaped
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(super) struct Change {
    /// All messages
    #[arg(long)]
    all: bool,
    /// List the messages, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn perform(config: &Config, task: Task, is_json: bool) -> Result<(), Failure> {
    let of = match &task {
        Task::List { of, .. } | Task::Show { of, .. } => of,
        Task::Replay { of, choice, change } | Task::Drop { of, choice, change } => {
            if change.all != choice.is_all() {
                return Err(Failure::usage(
                    "no selection: use --id, --error, --older-than or --limit, or --all",
                ));
            }
            of
        }
    };
    let dead_letters = match &of.from {
        Some(from) => DeadLetters::in_queue(config, &of.queue, from),
        None => DeadLetters::of(config, &of.queue),
    };
    let mut dead_letters = dead_letters.map_err(failure)?;
    let is_raw = match &task {
        Task::List { view, .. } | Task::Show { view, .. } => view.raw,
        Task::Replay { .. } | Task::Drop { .. } => false,
    };
    let mut out = Output::new(is_raw).with_json(is_json);
    let outcome = work(&mut dead_letters, task, &mut out)
        .await
        .map_err(failure);
    outcome.and(out.finish())
}

async fn work(
    dead_letters: &mut DeadLetters,
    task: Task,
    out: &mut Output,
) -> Result<(), DeadLettersError> {
    let is_list = matches!(task, Task::List { .. });
    let is_view = is_list || matches!(task, Task::Show { .. });
    let is_dry =
        matches!(&task, Task::Replay { change, .. } | Task::Drop { change, .. } if change.dry_run);
    let (found, what) = match task {
        Task::List { choice, .. } => (list(dead_letters, &choice.into(), out).await?, "listed"),
        Task::Show { choice, .. } => {
            let see = |dead_letter: &DeadLetter| show(dead_letter, out);
            (dead_letters.read(&choice.into(), see).await?, "shown")
        }
        Task::Replay { choice, change, .. } => {
            let selection = Selection::from(choice).complete();
            if change.dry_run {
                (
                    preview(dead_letters, &selection, out).await?,
                    "to be sent back",
                )
            } else {
                let bar = bar(dead_letters, &selection).await?;
                let found = dead_letters.replay_with(&selection, || bar.inc(1)).await?;
                (found, "sent back")
            }
        }
        Task::Drop { choice, change, .. } => {
            let selection = Selection::from(choice);
            if change.dry_run {
                (
                    preview(dead_letters, &selection, out).await?,
                    "to be deleted",
                )
            } else {
                let bar = bar(dead_letters, &selection).await?;
                let found = dead_letters.delete_with(&selection, || bar.inc(1)).await?;
                (found, "deleted")
            }
        }
    };
    let Summary {
        total,
        selected,
        without_reason,
        incomplete,
    } = found;
    if out.is_json() {
        // A list has nothing but its rows.
        if !is_view {
            out.object(
                &Object::new()
                    .with("total", total)
                    .with("selected", selected)
                    .with("changed", if is_dry { 0 } else { selected })
                    .with("unreadable", incomplete)
                    .with("dry_run", is_dry),
            );
        }
        return Ok(());
    }
    let queue = out.text(dead_letters.dead_letter_queue()).into_owned();
    out.line(format_args!("{selected} {what} of {total} in {queue}"));
    if is_list && without_reason > 0 {
        out.line(format_args!(
            "{without_reason} of them have no reason, attempts or time of the last failure, because the broker \
             or another program sent them; with dead_letter = \"outbox\" `subscribe` sends these headers"
        ));
    }
    if incomplete > 0 {
        out.line(format_args!(
            "{incomplete} more cannot be read as they were sent, and stay in the queue"
        ));
    }
    Ok(())
}

/// A progress bar for the selected messages, which reads the queue to count them. Hidden if standard error is not a
/// terminal.
async fn bar(
    dead_letters: &mut DeadLetters,
    selection: &Selection,
) -> Result<ProgressBar, DeadLettersError> {
    let bar = BARS.add(ProgressBar::new(0).with_finish(ProgressFinish::AndClear));
    if bar.is_hidden() {
        return Ok(bar);
    }
    let found = dead_letters
        .read(selection, |_| ControlFlow::Continue(()))
        .await?;
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} messages, {eta} left") {
        bar.set_style(style);
    }
    bar.set_length(u64::try_from(found.selected).unwrap_or(u64::MAX));
    Ok(bar)
}

/// Lists the messages, or counts them if the output is JSON.
async fn preview(
    dead_letters: &mut DeadLetters,
    selection: &Selection,
    out: &mut Output,
) -> Result<Summary, DeadLettersError> {
    if out.is_json() {
        let count = |_: &DeadLetter| ControlFlow::Continue(());
        return dead_letters.read(selection, count).await;
    }
    list(dead_letters, selection, out).await
}

async fn list(
    dead_letters: &mut DeadLetters,
    selection: &Selection,
    out: &mut Output,
) -> Result<Summary, DeadLettersError> {
    if out.is_json() {
        return dead_letters
            .read(selection, |one| print_json(&object(one), out))
            .await;
    }
    let mut table = table(&["id", "failed last", "attempts", "sent to", "error"]);
    let found = dead_letters
        .read(selection, |one| {
            let text = |text: &str| out.text(text).into_owned();
            let failed_at = one.failed_at();
            let failed_at = failed_at.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
            table.add_row([
                text(one.id()),
                failed_at.unwrap_or_else(|| "-".to_owned()),
                text(one.header(ATTEMPTS).unwrap_or("-")),
                text(one.destination().unwrap_or("-")),
                text(&one_line(&one.error())),
            ]);
            ControlFlow::Continue(())
        })
        .await?;
    if found.selected > 0 {
        out.line(table);
    }
    Ok(found)
}

/// Prints a dead letter; stops if standard output is closed.
fn show(dead_letter: &DeadLetter, out: &mut Output) -> ControlFlow<()> {
    if out.is_json() {
        return print_json(&object_with_body(dead_letter), out);
    }
    let id = out.text(dead_letter.id()).into_owned();
    out.line(id);
    if !dead_letter.defects().is_empty() {
        let defects = out.text(&dead_letter.defects()).into_owned();
        out.line(format_args!("  (cannot be read as it was sent: {defects})"));
    }
    for (name, value) in dead_letter.headers() {
        let line = format!("  {}: {}", out.text(name), out.text(value));
        out.line(line);
    }
    out.line("");
    out.bytes(dead_letter.body());
    out.line("\n");
    match out.is_closed() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// A dead letter as JSON.
fn object(dead_letter: &DeadLetter) -> Object {
    Object::new()
        .with("id", dead_letter.id())
        .with_time("failed", dead_letter.failed_at())
        .with("attempts", dead_letter.attempts())
        .with("sent_to", dead_letter.destination())
        .with("error", dead_letter.error())
        .with("readable", dead_letter.is_complete())
}

/// The same with its headers and its body: as JSON, as a text, or in hexadecimal.
fn object_with_body(dead_letter: &DeadLetter) -> Object {
    let headers: BTreeMap<&str, &str> = dead_letter.headers().collect();
    let object = object(dead_letter).with("headers", headers);
    match std::str::from_utf8(dead_letter.body()) {
        Ok(text) => object.with_document("body", text),
        Err(_) => {
            let digits = dead_letter.body().iter();
            let digits: String = digits.map(|byte| format!("{byte:02x}")).collect();
            object.with("body_hex", digits)
        }
    }
}

/// Prints an object; stops if standard output is closed.
fn print_json(object: &Object, out: &mut Output) -> ControlFlow<()> {
    out.object(object);
    match out.is_closed() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

fn failure(error: DeadLettersError) -> Failure {
    match error {
        DeadLettersError::NotAQueue(ref queue) => Failure::usage(format!(
            "{error}, as in `outbox dead-letters list billing` after `subscribe <callback> {queue} billing`"
        )),
        DeadLettersError::Url(_) => Failure::usage(error),
        DeadLettersError::Broker(stomp) if stomp.is_misconfigured() => Failure::usage(stomp),
        _ => Failure::runtime(error),
    }
}
