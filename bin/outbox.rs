//! The program `outbox`.

use std::process::ExitCode;

fn main() -> ExitCode {
    diesel_outbox::cli::outbox()
}
