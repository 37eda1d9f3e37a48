//! Why a registry has no such callback.

use super::builtin::ExecError;

/// Why a registry has no such callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two callbacks have one name.
    #[error("the callback `{0}` is registered twice: give one of them another name")]
    Twice(String),
    /// No callback has this name.
    #[error("no callback is named `{name}`; there are: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of all callbacks.
        known: String,
    },
    /// The program of `exec:` cannot be run.
    #[error("exec: {0}")]
    Exec(#[from] ExecError),
}
