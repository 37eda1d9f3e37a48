//! `outbox doctor`: checks a deployment, and prints a report.

use std::process::ExitCode;

use clap::builder::{Arg, ArgAction};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::output::Output;
use super::run::{Failure, run_with};
use crate::config::{Config, FlagGroups, Flags, SubscriptionConfig};
use crate::doctor::{self, Report, Verdict, counted};
use crate::terminal;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subscriptions: Subscriptions,
    /// Count warnings as errors in the exit code
    #[arg(long)]
    strict: bool,
}

/// `--subscription DESTINATION [QUEUE]`, any number of times.
struct Subscriptions(Vec<(String, Option<String>)>);

const SUBSCRIPTION: &str = "subscription";

impl FromArgMatches for Subscriptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = matches.get_occurrences::<String>(SUBSCRIPTION);
        let pairs = given.into_iter().flatten().filter_map(|mut words| {
            let destination = words.next()?.clone();
            Some((destination, words.next().cloned()))
        });
        Ok(Self(pairs.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Subscriptions {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new(SUBSCRIPTION)
                .long(SUBSCRIPTION)
                .num_args(1..=2)
                .value_names(["DESTINATION", "QUEUE"])
                .action(ArgAction::Append)
                .help(
                    "Subscription to check, as the arguments of `subscribe` without the callback; may be given \
                     several times. Those of the configuration file are checked too",
                ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Prints the report. Fails with 2 if the settings cannot be used, with 1 if a check failed.
pub(super) fn run<G: FlagGroups>(
    flags: &Flags<G>,
    arguments: &Arguments,
    is_json: bool,
) -> ExitCode {
    let config = Config::load_without_database(flags).map_err(|error| {
        let report = doctor::of_settings(&error);
        match print(&report, is_json) {
            Ok(()) => Failure::Usage(summary(&report)),
            Err(failure) => failure,
        }
    });
    run_with(config, async |config: Config| {
        let subscription = |(destination, queue): &(String, Option<String>)| {
            SubscriptionConfig::new("", destination, queue.as_deref(), &config)
        };
        let more: Vec<SubscriptionConfig> =
            arguments.subscriptions.0.iter().map(subscription).collect();
        let report = doctor::examine(&config, &more).await;
        print(&report, is_json)?;
        match report.verdict() {
            Verdict::Ok => Ok(()),
            Verdict::Warning if !arguments.strict => Ok(()),
            _ => Err(Failure::Runtime(summary(&report))),
        }
    })
}

fn print(report: &Report, is_json: bool) -> Result<(), Failure> {
    let mut out = Output::new(false);
    if is_json {
        out.line(terminal::escaped_json(&report.to_json().to_string()));
        return out.finish();
    }
    for check in report.checks() {
        let subject = check
            .subject
            .as_deref()
            .map(|subject| format!(" {subject}"));
        out.line(format_args!(
            "{:<8} {}{}: {}",
            check.verdict,
            check.name,
            subject.unwrap_or_default(),
            check.text
        ));
        if let Some(advice) = &check.advice {
            out.line(format_args!("{:<8}   do: {advice}", ""));
        }
    }
    out.line(summary(report));
    out.finish()
}

fn summary(report: &Report) -> String {
    let count = |noun, verdict| counted(report.count(verdict), noun);
    format!(
        "{}: {}, {}",
        counted(report.checks().len(), "check"),
        count("error", Verdict::Error),
        count("warning", Verdict::Warning)
    )
}
