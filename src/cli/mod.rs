//! The programs, as functions that a `main` of a few lines calls.
//!
//! All of them read their settings as `docs/configuration.md` says and end with
//! [`0`](EXIT_CODES) where they did what they were asked to.

mod outbox;
mod publish;
mod run;
mod subscribe;

pub use outbox::outbox;
pub use publish::publish;
pub use subscribe::{subscribe, subscribe_builtin};

/// The exit codes of the programs, as their help texts give them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done, or stopped by a signal
  1    the database or the broker failed or refused
  2    the settings or the arguments are wrong; nothing was connected
  128+N  ended at once by a second signal N";
