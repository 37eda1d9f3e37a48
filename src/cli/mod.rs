//! The programs, as functions that a `main` of a few lines calls.
//!
//! They end the process with one of the [exit codes](EXIT_CODES): code after the call does not run. All
//! of them read their settings as described in `docs/configuration.md`.

/// Evaluates an expression with the connection type of an address.
macro_rules! on_its_connection {
    ($address:expr, $connection:ident => $work:expr) => {
        'found: {
            let address = $address;
            $crate::backend::databases!(on_this_connection, 'found, address, $connection => $work);
            Err($crate::cli::run::Failure::usage(address.database()))
        }
    };
}

macro_rules! on_this_connection {
    ($module:ident: $type:ty, $found:lifetime, $address:ident, $connection:ident => $work:expr) => {
        if $address.is_for::<$type>() {
            type $connection = $type;
            break $found $work;
        }
    };
}

mod admin_database;
mod calls;
mod dead_letters;
mod doctor;
mod health;
mod http_server;
mod json;
pub mod logging;
mod metrics_server;
mod once;
mod outbox;
mod output;
mod process_one;
mod publish;
mod row_changes;
mod row_details;
mod row_filter;
mod row_list;
mod row_table;
mod run;
mod service_manager;
mod shell;
mod status;
mod subscribe;
#[cfg(feature = "web")]
mod web;

pub use calls::{calls, calls_with};
pub use outbox::outbox;
pub use publish::publish;
pub use subscribe::{subscribe, subscribe_builtin};

/// The exit codes of the programs, as their help texts give them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done, or stopped by a signal
  1    the database or the broker failed or refused
  2    wrong settings or arguments; nothing was sent or consumed
  3    stopped by a signal, and callbacks or calls did not finish in time
  4    publish --once, calls --once: a row was parked or failed, or rows that were due are left
  128+N  ended at once by a second signal N";
