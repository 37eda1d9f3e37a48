//! The log of the programs, on standard error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::MultiProgress;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, ConfigError, LogFormat, log_filter};
use crate::terminal;

/// The progress bars of a program, on standard error if that is a terminal.
pub(crate) static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A writer to standard error that does not mix log lines with progress bars. Each event is written at once.
struct Lines {
    format: LogFormat,
    /// Whether the formatter writes escape sequences for colours; it escapes those in values.
    has_colours: bool,
}

impl Lines {
    /// The line with what is unsafe in values escaped, such as line breaks.
    fn safe<'a>(&self, line: &'a str) -> Cow<'a, str> {
        match self.format {
            LogFormat::Json => terminal::escaped_json(line),
            LogFormat::Text if self.has_colours => {
                terminal::escaped_but(line, |character| character == '\u{1b}')
            }
            LogFormat::Text => terminal::escaped(line),
        }
    }
}

impl Write for Lines {
    /// Always succeeds: a log that cannot be written (a full disk, a closed pipe) must not stop the handling
    /// of messages.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(text);
        let line = self.safe(line.strip_suffix('\n').unwrap_or(&line));
        let _ = BARS.suspend(|| io::stderr().write_all(format!("{line}\n").as_bytes()));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// Starts the log on standard error: text, in colours on a terminal, or JSON. If the program has
/// installed a `tracing` subscriber already, that one stays.
///
/// Each event is one line: control characters in a value, such as line breaks and a terminal's escape
/// sequences, are escaped. Lines that cannot be written are dropped.
///
/// `level` is a level (`off`, `error`, `warn`, `info`, `debug`, `trace`) or a list of directives
/// as [`EnvFilter`](tracing_subscriber::EnvFilter) takes them, each with its `=`: `info,diesel_outbox=debug`.
///
/// # Errors
///
/// [`ConfigError::BadValue`] for the key `log_level`.
pub fn init(format: LogFormat, level: &str) -> Result<(), ConfigError> {
    let Some(filter) = log_filter::parse(level) else {
        return Config {
            log_level: level.to_owned(),
            ..Config::default()
        }
        .validate();
    };
    let has_colours = format == LogFormat::Text && io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It panics if standard error cannot be written.
        .log_internal_errors(false)
        .with_writer(move || Lines {
            format,
            has_colours,
        });
    // An error means that another subscriber is installed.
    let _ = match format {
        LogFormat::Json => lines.json().finish().try_init(),
        LogFormat::Text => lines.compact().with_ansi(has_colours).finish().try_init(),
    };
    Ok(())
}
