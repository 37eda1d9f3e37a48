//! The functions that an executor knows.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::encoding::decode;
use super::error::DecodeError;
use super::function::{CallFuture, CallResult, Execute, Function};
use super::state::{StateKey, States};
use crate::retry_policy::{RetryPolicy, RetryPolicyError};

type Transactional<C> = dyn FnOnce(&mut C, &Context) -> CallResult + Send;

/// A call that is ready to be executed.
pub(crate) enum Execution<C> {
    Transactional(Box<Transactional<C>>),
    Blocking(Box<dyn FnOnce(&Context) -> CallResult + Send>),
    Async(Box<dyn FnOnce(Context) -> CallFuture + Send>),
}

/// The arguments of a row as they are stored.
pub(crate) struct StoredArguments<'a> {
    pub(super) encoding: &'a str,
    pub(super) args: Option<&'a str>,
    pub(super) payload: Option<&'a [u8]>,
}

/// A function of a registry.
pub(crate) struct Registered<C> {
    pub(super) name: &'static str,
    pub(super) stream: Option<&'static str>,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Option<Duration>,
    states: &'static [StateKey],
    pub(super) prepare: fn(&StoredArguments<'_>) -> Result<Execution<C>, DecodeError>,
}

fn prepare<T: Execute<C>, C: 'static>(
    stored: &StoredArguments<'_>,
) -> Result<Execution<C>, DecodeError> {
    let call: T = decode(stored.encoding, stored.args, stored.payload)?;
    Ok(match T::FUNCTION {
        Function::Transactional(function) => {
            Execution::Transactional(Box::new(move |conn, context| function(call, conn, context)))
        }
        Function::Blocking(function) => {
            Execution::Blocking(Box::new(move |context| function(call, context)))
        }
        Function::Async(function) => {
            Execution::Async(Box::new(move |context| function(call, context)))
        }
    })
}

/// The functions that an executor knows, by their names, and the state that they ask for.
///
/// ```
/// use std::sync::Arc;
///
/// use diesel_outbox::calls::{Call, Calls, Execute, Function};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const NAME: &'static str = "shop.greet";
/// }
///
/// impl<C> Execute<C> for Greet {
///     const FUNCTION: Function<Self, C> = Function::Blocking(|call, _| {
///         println!("Hello, {}", call.name);
///         Ok(())
///     });
/// }
///
/// # #[cfg(feature = "sqlite")] {
/// let calls = Calls::<diesel::SqliteConnection>::new()
///     .add::<Greet>()
///     .state(Arc::new("a client".to_owned()));
/// assert!(calls.check().is_ok());
/// # }
/// ```
pub struct Calls<C> {
    functions: Vec<Arc<Registered<C>>>,
    names: BTreeMap<&'static str, Arc<Registered<C>>>,
    states: States,
    /// The first name that was added twice.
    twice: Option<&'static str>,
}

impl<C> fmt::Debug for Calls<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("names", &self.names.keys())
            .field("states", &self.states)
            .finish()
    }
}

impl<C> Default for Calls<C> {
    fn default() -> Self {
        Self {
            functions: Vec::new(),
            names: BTreeMap::new(),
            states: States::default(),
            twice: None,
        }
    }
}

/// Why an executor cannot start with a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallsError {
    /// It has no function.
    #[error("the registry of calls is empty: add functions with `add`")]
    Empty,
    /// Two functions have this name, as their name or as an alias.
    #[error("two functions have the name `{0}`: rename one of them, or remove the alias")]
    NameTwice(&'static str),
    /// A function asks for state that the registry does not have.
    #[error(
        "the function `{function}` asks for state of the type `{state}`: add it with `state(…)`"
    )]
    MissingState {
        /// The name of the function.
        function: &'static str,
        /// The type of the state.
        state: &'static str,
    },
    /// A function has a retry policy with a value outside its limits.
    #[error("the retry policy of the function `{function}`: {source}")]
    Retry {
        /// The name of the function.
        function: &'static str,
        /// What is wrong.
        source: RetryPolicyError,
    },
}

impl<C: 'static> Calls<C> {
    /// A registry without functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function, under its name and its aliases.
    #[must_use]
    pub fn add<T: Execute<C>>(mut self) -> Self {
        let function = Arc::new(Registered {
            name: T::NAME,
            stream: T::STREAM,
            retry: T::RETRY,
            timeout: T::TIMEOUT,
            states: T::STATES,
            prepare: prepare::<T, C>,
        });
        tracing::trace!(
            name = T::NAME,
            call = type_name::<T>(),
            "a function was added"
        );
        for name in std::iter::once(T::NAME).chain(T::ALIASES.iter().copied()) {
            if self.names.insert(name, Arc::clone(&function)).is_some() {
                self.twice.get_or_insert(name);
            }
        }
        self.functions.push(function);
        self
    }

    /// Adds state that functions ask for by its type, in place of an earlier one of this type.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.states.insert(value);
        self
    }

    /// Checks what the start of an executor checks.
    ///
    /// # Errors
    ///
    /// [`CallsError`] if there is no function, a name occurs twice, state is missing, or a retry policy has a value
    /// outside its limits.
    pub fn check(&self) -> Result<(), CallsError> {
        if self.functions.is_empty() {
            return Err(CallsError::Empty);
        }
        if let Some(name) = self.twice {
            return Err(CallsError::NameTwice(name));
        }
        for function in &self.functions {
            let missing = function.states.iter().find(|key| !self.states.has(**key));
            if let Some(key) = missing {
                return Err(CallsError::MissingState {
                    function: function.name,
                    state: key.name(),
                });
            }
            function.retry.check().map_err(|source| CallsError::Retry {
                function: function.name,
                source,
            })?;
        }
        Ok(())
    }

    /// All names, aliases included.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &Registered<C>)> {
        let names = self.names.iter();
        names.map(|(name, function)| (*name, function.as_ref()))
    }

    /// The function with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Registered<C>> {
        self.names.get(name).map(AsRef::as_ref)
    }

    pub(super) fn states(&self) -> &States {
        &self.states
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use diesel::SqliteConnection;
    use serde::{Deserialize, Serialize};

    use super::super::call::Call;
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct First {}

    impl Call for First {
        const NAME: &'static str = "first";
        const ALIASES: &'static [&'static str] = &["old"];
    }

    impl<C> Execute<C> for First {
        const FUNCTION: Function<Self, C> = Function::Blocking(|_, _| Ok(()));
        const STATES: &'static [StateKey] = &[StateKey::of::<u8>()];
    }

    #[derive(Serialize, Deserialize)]
    struct Second {}

    impl Call for Second {
        const NAME: &'static str = "old";
        const RETRY: RetryPolicy = RetryPolicy::new().factor(0.5);
    }

    impl<C> Execute<C> for Second {
        const FUNCTION: Function<Self, C> = Function::Blocking(|_, _| Ok(()));
    }

    #[test]
    fn mistakes_are_found_before_the_start() {
        let calls = Calls::<SqliteConnection>::new;
        assert_eq!(calls().check(), Err(CallsError::Empty));
        let twice = calls().add::<First>().add::<Second>().state(Arc::new(1_u8));
        assert_eq!(twice.check(), Err(CallsError::NameTwice("old")));
        let missing = calls().add::<First>().check().unwrap_err();
        let text = missing.to_string();
        assert!(text.contains("`first`") && text.contains("`u8`"), "{text}");
        let wrong = calls().add::<Second>().check().unwrap_err().to_string();
        assert!(wrong.contains("`old`: `factor` must be"), "{wrong}");
        let complete = calls().add::<First>().state(Arc::new(1_u8));
        assert_eq!(complete.check(), Ok(()));
        assert!(complete.find("old").is_some() && complete.find("new").is_none());
    }
}
