//! What can be wrong with a configuration, and where it was written.

use std::fmt;
use std::io;
use std::panic::Location;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// [`Builder::set`](super::Builder::set), called at this place.
    Code(&'static Location<'static>),
    /// A field that the program has filled by itself.
    Field,
    /// A key in this file.
    File(PathBuf),
    /// The table `[[subscription]]` of this number, from 1, in this file.
    Subscription(PathBuf, usize),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, dashes included.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Code(place) => write!(f, "the code at {}:{}", place.file(), place.line()),
            Self::Field => f.write_str("the program's own code"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Subscription(path, number) => {
                write!(f, "[[subscription]] {number} of file {}", path.display())
            }
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A key, its value, and where that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} from {}", self.key, self.value, self.origin)
    }
}

/// What is wrong with a configuration. Nothing was connected.
///
/// No message holds the value of a key that may hold a password, nor that of an unknown key,
/// nor a line of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file was named and cannot be read.
    #[error("cannot read the configuration file {}, named by {origin}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What named it.
        origin: Origin,
        /// The system's reason.
        source: io::Error,
    },

    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML{}: {reason}", path.display(), line.map(|line| format!(", at line {line}")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
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
        /// The key that is meant, or the list of those there are.
        advice: String,
    },

    /// A value is of the wrong type, out of its limits, or makes no sense.
    #[error("{key}{} from {origin} is not {expected}", describe_value(value.as_deref()))]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value as it was written; `None` where it may hold a password.
        value: Option<String>,
        /// Where it was written.
        origin: Origin,
        /// What it ought to be.
        expected: String,
    },

    /// Two values do not go together.
    #[error("{} must be {relation} {}", .pair[0], .pair[1])]
    Conflict {
        /// The two of them.
        pair: Box<[Written; 2]>,
        /// What the first must be, compared with the second.
        relation: &'static str,
    },

    /// A key that has no default was set nowhere.
    #[error("{key} is not set: {advice}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to set it.
        advice: String,
    },

    /// More than one thing is wrong.
    #[error("the configuration has {} problems:{}", .0.len(), .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// Every single problem: the parts of [`Several`](Self::Several), or the error itself.
    pub fn problems(&self) -> &[ConfigError] {
        match self {
            Self::Several(problems) => problems,
            single => std::slice::from_ref(single),
        }
    }

    /// The settings whose values are at fault.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (one, other) = match self {
            Self::BadValue { key, .. } => (Some(*key), None),
            Self::Conflict { pair, .. } => (Some(pair[0].key), Some(pair[1].key)),
            _ => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// No problem, the one there is, or all of them.
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
        // The variable's whole name is in the origin.
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
