//! Where a value was written.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It was not set.
    Default,
    /// [`Builder::set`](super::Builder::set), called at this place.
    Code(&'static Location<'static>),
    /// A field of `Config` that the program has set.
    Field,
    /// A key in this file.
    File(PathBuf),
    /// The table `[[subscription]]` with this number, counted from 1, in this file.
    Subscription(PathBuf, usize),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, with its dashes.
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
