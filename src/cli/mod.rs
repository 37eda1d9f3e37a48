//! The programs, as functions that a `main` of a few lines calls.
//!
//! They end the process themselves, with its exit code: what comes behind the call is not run. All
//! of them read their settings as `docs/configuration.md` says and end with
//! [`0`](EXIT_CODES) where they did what they were asked to.

/// Evaluates an expression with the connection type that an address is for.
macro_rules! on_its_connection {
    ($address:expr, $connection:ident => $work:expr) => {
        match $address {
            #[cfg(feature = "postgres")]
            $crate::db::Address::Postgres(_) => {
                type $connection = diesel::PgConnection;
                $work
            }
            #[cfg(feature = "mysql")]
            $crate::db::Address::Mysql(_) => {
                type $connection = diesel::MysqlConnection;
                $work
            }
            #[cfg(feature = "sqlite")]
            $crate::db::Address::Sqlite(_) => {
                type $connection = diesel::SqliteConnection;
                $work
            }
            #[allow(unreachable_patterns)] // a build without one of them refuses its address before
            other => Err($crate::cli::run::Failure::usage(other.database())),
        }
    };
}

mod dead_letters;
mod outbox;
mod process_one;
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
  3    stopped by a signal, and callbacks did not finish in time
  128+N  ended at once by a second signal N";
