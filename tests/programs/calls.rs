//! A program as users write it with `cli::calls_with`, for the tests: its connection is that of `DATABASE_URL`, and
//! `TEST_REGISTRY` chooses a registry with a mistake.

#![allow(clippy::print_stderr)]

mod acts;

use std::process::ExitCode;

use diesel_outbox::backend::Backend;
use diesel_outbox::calls::Calls;
use diesel_outbox::cli;
use diesel_outbox::correlation::Trace;
use diesel_outbox::traces::{self, Propagator};

/// A tracing system that is in no trace, and says when it is flushed.
struct Flushed;

impl Propagator for Flushed {
    fn context(&self, _: &tracing::Span) -> Option<Trace> {
        None
    }

    fn continue_trace(&self, _: &tracing::Span, _: &Trace) {}

    fn flush(&self) {
        eprintln!("spans flushed");
    }
}

fn run<C: Backend>() -> ExitCode {
    if traces::set_propagator(Flushed).is_err() {
        return ExitCode::FAILURE;
    }

    let calls = Calls::<C>::new();
    let calls = match std::env::var("TEST_REGISTRY").as_deref() {
        Ok("empty") => calls,
        Ok("twice") => calls.add::<acts::Play>().add::<acts::Play>(),
        _ => calls
            .add::<acts::Play>()
            .add::<acts::PlayWithin>()
            .add::<acts::Await>(),
    };
    cli::calls_with(calls, |executor| {
        executor.on_error(|call| eprintln!("tracked: {} {:?}", call.name, call.error))
    })
}

fn main() -> ExitCode {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    match url.split_once("://").map(|(scheme, _)| scheme) {
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => run::<diesel::PgConnection>(),
        #[cfg(feature = "mysql")]
        Some("mysql") => run::<diesel::MysqlConnection>(),
        _ => run::<diesel::SqliteConnection>(),
    }
}
