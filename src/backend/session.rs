//! How a connection is opened: its address, and the setup of its session.

use std::time::Duration;

use super::Backend;
use crate::config::Config;

/// Settings of new connections.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Statements to run on a new connection.
    pub(crate) setup: String,
    /// Whether these statements must succeed.
    pub(crate) is_needed: bool,
    /// Parameters that are added to the address if it lacks them.
    #[allow(dead_code)] // only servers have parameters
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// The limits of connections beside the pool.
    pub(crate) limits: Limits,
    /// Whether a database file that does not exist is created.
    pub(crate) creates_file: bool,
    /// Adds the missing parameters to an address.
    pub(crate) complete: fn(&Session, &str) -> String,
    /// Returns the database's file if it must exist and does not.
    pub(crate) missing_file: fn(&str) -> Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            setup: String::new(),
            is_needed: false,
            parameters: Vec::new(),
            limits: Limits::default(),
            creates_file: false,
            complete: |_, address| address.to_owned(),
            missing_file: |_| None,
        }
    }
}

/// Statements by which the server limits waits on a message's own connection and on
/// the one beside it. They are empty on a database that limits every wait for a lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Limits the wait for a lock to the time limit of our statements.
    pub(crate) locks: String,
    /// Restores the previous limit.
    pub(crate) lift: &'static str,
    /// Limits waits for locks and statements on a connection without callbacks.
    pub(crate) all: String,
}

/// What the connections are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Also for callbacks, whose sessions keep the server's settings.
    Callbacks,
    /// Commands that a user waits for.
    Commands,
    /// A relay. The server also ends a statement after this time, so that an abandoned statement holds
    /// no lock.
    Relay(Duration),
}

impl Purpose {
    #[allow(dead_code)] // not every database needs it
    pub(super) fn limit(self) -> Option<Duration> {
        match self {
            Self::Callbacks | Self::Commands => None,
            Self::Relay(limit) => Some(limit),
        }
    }
}

impl Session {
    /// The session settings for a database.
    pub(crate) fn new<C: Backend>(config: &Config, purpose: Purpose) -> Self {
        macro_rules! of {
            ($module:ident: $connection:ty) => {
                if C::NAME == <$connection as Backend>::NAME {
                    return super::$module::session::new(config, purpose);
                }
            };
        }
        super::databases!(of);
        Self::default()
    }

    /// Creates the file of a database that does not exist.
    pub(crate) fn creating(self) -> Self {
        Self {
            creates_file: true,
            ..self
        }
    }

    /// Adds the missing parameters to an address.
    pub(crate) fn complete(&self, address: &str) -> String {
        (self.complete)(self, address)
    }

    /// Returns the database's file if it must exist and does not.
    pub(crate) fn missing_file(&self, address: &str) -> Option<String> {
        if self.creates_file {
            return None;
        }
        (self.missing_file)(address)
    }
}

/// Whole seconds, at least one.
#[allow(dead_code)] // not every database needs it
pub(super) fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs_f64().ceil() as u64)
        .unwrap_or(u32::MAX)
        .max(1)
}
