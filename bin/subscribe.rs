//! The program `subscribe`.

use std::process::ExitCode;

fn main() -> ExitCode {
    diesel_outbox::cli::subscribe_builtin()
}
