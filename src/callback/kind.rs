//! The kinds of callbacks.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::outcome::Outcome;
use super::payload::{Payload, Proof};
use crate::error::BoxError;
use crate::runtime::process_group::Programs;

type Transactional<C> = dyn Fn(&mut C, &Payload) -> Result<Outcome, BoxError> + Send + Sync;
pub(crate) type Managed<C> = dyn Fn(&mut C, &Payload) -> Result<Proof, BoxError> + Send + Sync;
type Call = dyn Fn(Payload) -> Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>
    + Send
    + Sync;

/// A callback whose work is not in the database.
pub(crate) struct External {
    pub(crate) call: Box<Call>,
    /// The programs that it runs.
    pub(crate) programs: Option<Programs>,
}

/// A callback of any kind.
pub(crate) enum Callback<C> {
    /// Works on a connection of the pool, and blocks its thread.
    Blocking(Blocking<C>),
    /// Holds no connection.
    External(Arc<External>),
}

/// A callback that works on a connection.
pub(crate) enum Blocking<C> {
    /// Works in the transaction of the inbox row.
    Transactional(Arc<Transactional<C>>),
    /// Opens its own transaction.
    Managed(Arc<Managed<C>>),
}

impl<C> Clone for Callback<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Blocking(call) => Self::Blocking(call.clone()),
            Self::External(call) => Self::External(Arc::clone(call)),
        }
    }
}

impl<C> Clone for Blocking<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Transactional(call) => Self::Transactional(Arc::clone(call)),
            Self::Managed(call) => Self::Managed(Arc::clone(call)),
        }
    }
}

impl<C> fmt::Debug for Callback<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(Blocking::Transactional(_)) => "Transactional",
            Self::Blocking(Blocking::Managed(_)) => "Managed",
            Self::External(_) => "External",
        })
    }
}
