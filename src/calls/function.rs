//! How a call is executed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::call::Call;
use super::context::Context;
use super::state::StateKey;
use crate::error::BoxError;

/// The result of an execution. A [`Permanent`](crate::Permanent) error parks the call; after any other one
/// there is another attempt.
pub type CallResult = Result<(), BoxError>;

/// The future of an async function.
pub type CallFuture = Pin<Box<dyn Future<Output = CallResult> + Send>>;

/// The function of a call, by its kind.
pub enum Function<T, C> {
    /// Works in the transaction that also records the call as done: its effect in this database happens exactly
    /// once.
    Transactional(fn(T, &mut C, &Context) -> CallResult),
    /// Runs on a thread for blocking work. It may run more than once.
    Blocking(fn(T, &Context) -> CallResult),
    /// Runs as a task. It may run more than once.
    Async(fn(T, Context) -> CallFuture),
}

impl<T, C> fmt::Debug for Function<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transactional(_) => "Transactional",
            Self::Blocking(_) => "Blocking",
            Self::Async(_) => "Async",
        })
    }
}

/// A call that an executor on connections of the type `C` can execute.
///
/// The attribute `outboxed` implements it: a function with a connection as its first parameter only for that
/// connection, other functions for all connections.
pub trait Execute<C>: Call {
    /// The function.
    const FUNCTION: Function<Self, C>;
    /// The state that the function asks for; an executor without it does not start.
    const STATES: &'static [StateKey] = &[];
}

/// What a function may return: `()`, or a `Result` with any error that converts into [`BoxError`].
#[diagnostic::on_unimplemented(
    message = "an outboxed function cannot return `{Self}`",
    note = "it returns `()` or `Result<T, E>`, where `E: Into<BoxError>`"
)]
pub trait IntoCallResult {
    /// The result.
    ///
    /// # Errors
    ///
    /// The function's error.
    fn into_call_result(self) -> CallResult;
}

impl IntoCallResult for () {
    fn into_call_result(self) -> CallResult {
        Ok(())
    }
}

impl<T, E: Into<BoxError>> IntoCallResult for Result<T, E> {
    fn into_call_result(self) -> CallResult {
        self.map(drop).map_err(Into::into)
    }
}
