//! `outbox dead-letters`: what was given up, by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::run::Failure;
use crate::config::Config;
use crate::dead_letters::{
    Choice, DeadLetters, DeadLettersError, Found, Letter, Way, letter, show_time,
};
use crate::logging::BARS;

#[derive(Subcommand)]
pub(super) enum Task {
    /// List them, with why they were given up
    List {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
    },
    /// Show their headers and bodies
    Show {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
    },
    /// Send them back to their queue
    Replay {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        choice: Choosing,
        #[command(flatten)]
        change: Change,
    },
    /// Delete them
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
    /// The queue that they were given up from
    queue: String,
    /// The queue that they are in, such as ActiveMQ.DLQ [default: DLQ.<queue>]
    #[arg(long, value_name = "QUEUE")]
    from: Option<String>,
}

#[derive(Args)]
pub(super) struct Choosing {
    /// The ids of messages
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Those whose error holds this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Those that failed last longer ago, such as 2h; of those that say when
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// So many at most
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

impl From<Choosing> for Choice {
    fn from(choosing: Choosing) -> Self {
        Self {
            ids: choosing.id,
            error: choosing.error,
            older_than: choosing.older_than,
            limit: choosing.limit,
            only_whole: false,
        }
    }
}

#[derive(Args)]
pub(super) struct Change {
    /// All of them
    #[arg(long)]
    all: bool,
    /// Only say which ones
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn perform(config: &Config, task: Task) -> Result<(), Failure> {
    let of = match &task {
        Task::List { of, .. } | Task::Show { of, .. } => of,
        Task::Replay { of, choice, change } | Task::Drop { of, choice, change } => {
            if change.all != choice.is_all() {
                return Err(Failure::usage(
                    "say which ones: by --id, --error, --older-than or --limit, or else --all",
                ));
            }
            of
        }
    };
    let letters = DeadLetters::connect(config, &of.queue, of.from.as_deref())
        .await
        .map_err(failure)?;
    let outcome = work(&letters, task).await.map_err(failure);
    letters.close().await;
    outcome
}

#[allow(clippy::print_stdout)] // what was asked for
async fn work(letters: &DeadLetters, task: Task) -> Result<(), DeadLettersError> {
    let (found, what) = match task {
        Task::List { choice, .. } => (list(letters, &choice.into()).await?, "listed"),
        Task::Show { choice, .. } => (letters.look(&choice.into(), show).await?, "shown"),
        Task::Replay { choice, change, .. } => {
            let choice = Choice {
                only_whole: true,
                ..choice.into()
            };
            take_away(letters, &choice, Way::Back, change.dry_run).await?
        }
        Task::Drop { choice, change, .. } => {
            take_away(letters, &choice.into(), Way::Gone, change.dry_run).await?
        }
    };
    let Found { all, chosen, left } = found;
    println!("{chosen} {what} of {all} in {}", letters.name());
    if left > 0 {
        println!("{left} more cannot be read as they were sent, and stay there");
    }
    Ok(())
}

async fn take_away(
    letters: &DeadLetters,
    choice: &Choice,
    way: Way,
    is_dry: bool,
) -> Result<(Found, &'static str), DeadLettersError> {
    if is_dry {
        let what = match way {
            Way::Back => "to be sent back",
            Way::Gone => "to be deleted",
        };
        return Ok((list(letters, choice).await?, what));
    }
    let (bar, seen) = bar(letters, choice).await?;
    let found = letters.take_away(choice, way, seen, || bar.inc(1)).await?;
    let what = match way {
        Way::Back => "sent back",
        Way::Gone => "deleted",
    };
    Ok((found, what))
}

/// On a terminal, a bar as long as there are letters that are meant, and how many were seen for it.
async fn bar(
    letters: &DeadLetters,
    choice: &Choice,
) -> Result<(ProgressBar, usize), DeadLettersError> {
    let bar = BARS.add(ProgressBar::new(0).with_finish(ProgressFinish::AndClear));
    if bar.is_hidden() {
        return Ok((bar, 0));
    }
    let counting = letters.again().await?;
    let found = counting.look(choice, |_| {}).await;
    counting.close().await;
    let Found { all, chosen, .. } = found?;
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} messages, {eta} left") {
        bar.set_style(style);
    }
    bar.set_length(u64::try_from(chosen).unwrap_or(u64::MAX));
    Ok((bar, all))
}

#[allow(clippy::print_stdout)] // what was asked for
async fn list(letters: &DeadLetters, choice: &Choice) -> Result<Found, DeadLettersError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "id",
        "failed last",
        "attempts",
        "sent to",
        "error",
    ]);
    let found = letters
        .look(choice, |one| {
            let header = |name| one.header(name).unwrap_or("-").to_owned();
            let last = one.last().map_or_else(|| "-".to_owned(), show_time);
            table.add_row([
                one.id.clone(),
                last,
                header(letter::ATTEMPTS),
                header(letter::DESTINATION),
                one_line(&one.error()),
            ]);
        })
        .await?;
    if found.chosen > 0 {
        println!("{table}");
    }
    Ok(found)
}

#[allow(clippy::print_stdout)] // what was asked for
fn show(letter: &Letter) {
    println!("{}", letter.id);
    if !letter.defects().is_empty() {
        println!("  (cannot be read as it was sent: {})", letter.defects());
    }
    for (name, value) in letter.headers() {
        println!("  {}: {}", name.escape_debug(), value.escape_debug());
    }
    match std::str::from_utf8(letter.body()) {
        Ok(text) => println!("\n{text}\n"),
        Err(_) => println!("\n({} bytes that are no text)\n", letter.body().len()),
    }
}

/// A text without what a terminal would heed, cut where it is long.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 100;
    text.chars()
        .take(LONGEST)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

fn failure(error: DeadLettersError) -> Failure {
    match error {
        DeadLettersError::Url(_) => Failure::usage(error),
        DeadLettersError::Broker(stomp) if stomp.is_misconfigured() => Failure::usage(stomp),
        _ => Failure::runtime(error),
    }
}
