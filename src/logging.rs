//! Log lines of the programs, on standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, ConfigError, LogFormat};

/// The progress bars of a program, on standard error where it is a terminal.
pub(crate) static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error, where log lines do not run into the bars.
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts to write log lines to standard error: text, in colours where it is a terminal, or JSON.
/// Where the program has installed a `tracing` subscriber already, that one stays.
///
/// `level` is a level (`off`, `error`, `warn`, `info`, `debug`, `trace`) or a list of directives
/// as [`EnvFilter`] takes them, each with its `=`: `info,diesel_outbox=debug`.
///
/// # Errors
///
/// [`ConfigError::BadValue`] for the key `log_level`.
pub fn init(format: LogFormat, level: &str) -> Result<(), ConfigError> {
    let Some(filter) = filter(level) else {
        return Config {
            log_level: level.to_owned(),
            ..Config::default()
        }
        .validate();
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| BesideBars);
    // An error says that somebody else has come first.
    let _ = match format {
        LogFormat::Json => lines.json().finish().try_init(),
        LogFormat::Text => lines
            .compact()
            .with_ansi(io::stderr().is_terminal())
            .finish()
            .try_init(),
    };
    Ok(())
}

/// The filter that a level or a list of directives stands for.
pub(crate) fn filter(level: &str) -> Option<EnvFilter> {
    // `EnvFilter` takes a misspelt level such as `inof` for a module of that name, and then
    // nothing is logged at all: a bare word must be a level.
    let names_a_field = level.contains(['[', '{']);
    let is_bare_word = |part: &str| !part.contains('=') && part.parse::<LevelFilter>().is_err();
    if level.trim().is_empty() || (!names_a_field && level.split(',').any(is_bare_word)) {
        return None;
    }
    EnvFilter::try_new(level).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_no_module() {
        for good in [
            "info",
            "OFF",
            "info,diesel_outbox=debug",
            "warn,diesel_outbox[span{field=1}]=trace",
        ] {
            assert!(filter(good).is_some(), "{good}");
        }
        for bad in [
            "",
            " ",
            "inof",
            "info,diesel_outbox",
            "diesel_outbox=loud",
            "=",
            "a[=",
        ] {
            assert!(filter(bad).is_none(), "{bad}");
        }
    }
}
