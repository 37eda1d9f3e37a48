//! What is known of a setting besides its value.

use super::from_value::{Mismatch, Shape};
use super::limits::NotAllowed;
use super::settings::KEYS;
use super::value::Value;
use super::{Config, Group};

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// The name in the file and in [`Builder::set`](super::Builder::set).
    pub name: &'static str,
    /// The default, as a user would write it; empty for the empty text.
    pub default: &'static str,
    /// Whether a value may contain a password and is never shown.
    pub secret: bool,
    /// The group in `--help`.
    pub group: Group,
    pub(super) value_name: &'static str,
    /// The lines of the documentation; an empty one ends a paragraph.
    pub(super) documentation: &'static [&'static str],
    pub(super) expected: &'static str,
    pub(super) variable: Option<&'static str>,
    /// The secret that the file contains whose path this setting is.
    pub(super) secret_in_file: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) is_optional: bool,
    /// Reads a value into its field.
    pub(super) read: fn(&mut Config, &Value) -> Result<(), Mismatch>,
    /// Checks the value of its field.
    pub(super) check: fn(&Config) -> Result<(), NotAllowed>,
}

impl Key {
    /// The flag, without the dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable: `OUTBOX_` and the name in capitals.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// The second environment variable, without the prefix, if there is one.
    #[must_use]
    pub fn bare_env(&self) -> Option<&'static str> {
        self.variable
    }

    /// What a value must be, as in "is not …".
    #[must_use]
    pub fn expected(&self) -> String {
        match self.is_optional {
            true => format!("{}, or none", self.expected),
            false => self.expected.to_owned(),
        }
    }

    /// What it does, in one sentence without markup: the text in `--help`.
    #[must_use]
    pub fn help(&self) -> String {
        let first = self.documentation.split(|line| line.trim().is_empty());
        let first = join(first.into_iter().next().unwrap_or_default());
        first.trim_end_matches('.').replace('`', "")
    }

    /// What it does, in Markdown on one line. A page of the documentation is written as
    /// `docs/brokers.md`.
    #[must_use]
    pub fn documentation(&self) -> String {
        join(self.documentation)
    }
}

/// The start of the names of environment variables.
pub(super) const PREFIX: &str = "OUTBOX_";

fn join(lines: &[&str]) -> String {
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// The setting with this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The path of the file that contains a secret. The builder reads the file into the secret, hence there
/// is no field.
macro_rules! secret_file {
    (secret, $secret:expr, $name:expr, $group:expr, $documentation:expr, $variable:expr) => {
        $crate::config::Key {
            name: $name,
            default: "none",
            secret: false,
            group: $group,
            value_name: "FILE",
            documentation: &[$documentation],
            expected: "the path of a file",
            variable: $variable,
            secret_in_file: Some($secret),
            shape: $crate::config::from_value::Shape::One,
            is_optional: true,
            read: |_, value| {
                use $crate::config::from_value::FromValue;
                Option::<std::path::PathBuf>::from_value(value).map(drop)
            },
            check: |_| Ok(()),
        }
    };
}
pub(super) use secret_file;
