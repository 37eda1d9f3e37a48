//! The filters of rows on a command line.

use std::time::Duration;

use clap::Args;

use super::shell::CommandLine;
use crate::admin::Filter;

#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RowFilter {
    /// Only rows of this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Only rows to this destination; with --calls: calls of the function with this name
    #[arg(long, value_name = "DESTINATION")]
    to: Option<String>,
    /// Only rows with this ordering key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only rows whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only rows that were written longer ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<Duration>,
    /// Only rows that were written less long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) newer_than: Option<Duration>,
}

impl RowFilter {
    /// Whether no filter is given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn filter(&self) -> Filter {
        let mut filter = Filter::new();
        if let Some(stream) = &self.stream {
            filter = filter.stream(stream);
        }
        if let Some(destination) = &self.to {
            filter = filter.destination(destination);
        }
        if let Some(key) = &self.key {
            filter = filter.key(key);
        }
        if let Some(part) = &self.error {
            filter = filter.error(part);
        }
        if let Some(age) = self.older_than {
            filter = filter.older_than(age);
        }
        if let Some(age) = self.newer_than {
            filter = filter.newer_than(age);
        }
        filter
    }

    /// The flags that are given.
    pub(super) fn write_to(&self, line: CommandLine) -> CommandLine {
        let age =
            |age: Option<Duration>| age.map(|age| humantime::format_duration(age).to_string());
        line.flag("--stream", self.stream.as_ref())
            .flag("--to", self.to.as_ref())
            .flag("--key", self.key.as_ref())
            .flag("--error", self.error.as_ref())
            .flag("--older-than", age(self.older_than))
            .flag("--newer-than", age(self.newer_than))
    }
}
