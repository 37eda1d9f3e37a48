//! The program `publish`.

use std::process::ExitCode;

fn main() -> ExitCode {
    diesel_outbox::cli::publish()
}
