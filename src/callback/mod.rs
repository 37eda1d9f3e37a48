//! What a service does with a received message: callbacks, their registry, and the built-in ones.

pub(crate) mod builtin;
pub(crate) mod celery;
mod header_variables;
pub(crate) mod kind;
mod outcome;
pub(crate) mod payload;
mod registry;
mod registry_error;

pub use builtin::{ExecError, RunError};
pub use celery::{Celery, CeleryError};
pub use outcome::{IntoOutcome, Outcome};
pub use payload::{Duplicate, Json, Meta, Payload, Proof};
pub use registry::Registry;
pub use registry_error::RegistryError;
