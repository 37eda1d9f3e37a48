//! Tasks for Celery workers, written as messages of the outbox.
//!
//! The protocol is Celery's message protocol 2:
//! <https://docs.celeryq.dev/en/stable/internals/protocol.html>.

mod error;
pub(crate) mod protocol;
mod repr;
mod task;

pub use error::CeleryTaskError;
pub use task::CeleryTask;
