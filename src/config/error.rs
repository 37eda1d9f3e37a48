//! Errors of a configuration.

use std::io;
use std::path::PathBuf;

use super::origin::{Origin, Written};

/// An error of a configuration. Nothing was connected.
///
/// No message contains the value of a secret or of an unknown key, or a line of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that is named cannot be read.
    #[error("cannot read the configuration file {}, named by {origin}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What named it.
        origin: Origin,
        /// The system's error.
        source: io::Error,
    },

    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML{}: {reason}", path.display(), line.map(|line| format!(", at line {line}")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
        /// The parser's reason.
        reason: String,
    },

    /// No setting has this name.
    #[error("unknown {} in {origin}: {advice}", describe_unknown(key, origin))]
    UnknownKey {
        /// The name as it was written.
        key: String,
        /// Where it was written.
        origin: Origin,
        /// The nearest names.
        advice: String,
    },

    /// A value has the wrong type or is not allowed.
    #[error("{key}{} from {origin} is not {expected}", describe_value(value.as_deref()))]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value as it was written; `None` if it may contain a password.
        value: Option<String>,
        /// Where it was written.
        origin: Origin,
        /// What it must be.
        expected: String,
    },

    /// The file that contains a secret cannot be read.
    #[error("cannot read {}, which {key} from {origin} names: {source}", path.display())]
    SecretFile {
        /// The key that names it, such as `database_url_file`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What named it.
        origin: Origin,
        /// The system's error.
        source: io::Error,
    },

    /// One source sets both a secret and the file that contains it.
    #[error("{key} from {} and {file} from {} are both set: remove one of them", .places[0], .places[1])]
    Twice {
        /// The secret.
        key: &'static str,
        /// The setting that names the file.
        file: &'static str,
        /// Where they were set.
        places: Box<[Origin; 2]>,
    },

    /// Two values contradict each other.
    #[error("{} must be {relation} {}", .pair[0], .pair[1])]
    Conflict {
        /// The two values.
        pair: Box<[Written; 2]>,
        /// What the first must be in relation to the second.
        relation: &'static str,
    },

    /// A required key is not set.
    #[error("{key} is not set: {advice}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to set it.
        advice: String,
    },

    /// More than one error.
    #[error("the configuration has {} problems:{}", .0.len(), .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// The single errors: the parts of [`Several`](Self::Several), or the error itself.
    pub fn problems(&self) -> &[ConfigError] {
        match self {
            Self::Several(problems) => problems,
            single => std::slice::from_ref(single),
        }
    }

    /// The settings whose values are wrong.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (one, other) = match self {
            Self::BadValue { key, .. } => (Some(*key), None),
            Self::Conflict { pair, .. } => (Some(pair[0].key), Some(pair[1].key)),
            _ => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// `Ok` without problems; otherwise the only one, or all of them.
    pub(super) fn from_problems(mut problems: Vec<ConfigError>) -> Result<(), Self> {
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.remove(0)),
            _ => Err(Self::Several(problems)),
        }
    }
}

fn describe_unknown(key: &str, origin: &Origin) -> String {
    match origin {
        // The origin contains the whole name of the variable.
        Origin::Environment(_) => "setting".to_owned(),
        _ => format!("key {key:?}"),
    }
}

fn describe_value(value: Option<&str>) -> String {
    value.map_or_else(
        || " (its value is not shown)".to_owned(),
        |value| format!(" = {value}"),
    )
}
