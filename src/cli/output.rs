//! Standard output of a command.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use super::json::Object;
use super::run::Failure;
use crate::terminal;

/// The output of a command. On a terminal, texts from outside are escaped.
///
/// A closed pipe does not stop the command: one that changes rows finishes.
pub(super) struct Output {
    is_escaped: bool,
    is_json: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// With `is_raw`, texts from outside are printed unchanged on a terminal too.
    pub(super) fn new(is_raw: bool) -> Self {
        Self {
            is_escaped: !is_raw && io::stdout().is_terminal(),
            is_json: false,
            failed: None,
        }
    }

    /// With `is_json`, the results are JSON.
    pub(super) fn with_json(self, is_json: bool) -> Self {
        Self { is_json, ..self }
    }

    /// Whether the results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints a result: a line of text, or an object.
    pub(super) fn result(&mut self, line: impl Display, object: impl FnOnce() -> Object) {
        if self.is_json {
            self.object(&object());
        } else {
            self.line(line);
        }
    }

    /// Prints an object on a line. What is unsafe in its texts is escaped, as JSON allows.
    pub(super) fn object(&mut self, object: &Object) {
        self.line(terminal::escaped_json(&object.to_string()));
    }

    /// A text from outside, for a part of a line.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_escaped {
            terminal::escaped(text)
        } else {
            text.into()
        }
    }

    /// Prints a line.
    pub(super) fn line(&mut self, line: impl Display) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Prints a name and its value, in two columns.
    pub(super) fn row(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name:<9} {value}"));
    }

    /// Prints bytes from outside. On a terminal, text is escaped except line breaks and tabs, and of other
    /// bytes only the number is printed.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if !self.is_escaped {
            return self.write(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.write(terminal::escaped_lines(text).as_bytes()),
            Err(_) => {
                let note = format!(
                    "({} bytes that are not text; --raw prints them)",
                    bytes.len()
                );
                self.write(note.as_bytes());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = io::stdout().write_all(bytes).err();
        }
    }

    /// Whether the output cannot be written any more.
    pub(super) fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// Fails if something could not be written. A closed pipe is no failure: its reader has what it wanted.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.failed.is_none() {
            self.failed = io::stdout().flush().err();
        }
        match self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::runtime(format!(
                "could not write to standard output: {error}"
            ))),
            _ => Ok(()),
        }
    }
}
