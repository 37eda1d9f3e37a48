//! The state of the application that functions ask for by its type, such as a client or a pool.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// State of the application, as a parameter of a function. It is shared, not copied.
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for State<T> {
    // Not the value: it may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&type_name::<T>()).finish()
    }
}

/// No state of this type was given to the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no state of the type `{0}` was given to the registry of calls: add it with `state(…)`")]
pub struct MissingState(pub &'static str);

/// Identifies a type of state.
#[derive(Debug, Clone, Copy)]
pub struct StateKey {
    id: fn() -> TypeId,
    name: fn() -> &'static str,
}

impl StateKey {
    /// The key of this type.
    #[must_use]
    pub const fn of<T: Send + Sync + 'static>() -> Self {
        Self {
            id: TypeId::of::<T>,
            name: type_name::<T>,
        }
    }

    /// The name of the type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        (self.name)()
    }
}

/// State by its type. Cheap to clone.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({})", self.0.len())
    }
}

impl States {
    /// Adds a value, in place of an earlier one of its type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), value);
    }

    /// Returns the value of this type.
    ///
    /// # Errors
    ///
    /// [`MissingState`] if there is none.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<State<T>, MissingState> {
        let value = self.0.get(&TypeId::of::<T>()).cloned();
        let value = value.and_then(|value| value.downcast().ok());
        value.map(State).ok_or(MissingState(type_name::<T>()))
    }

    /// Whether there is a value of this type.
    #[must_use]
    pub fn has(&self, key: StateKey) -> bool {
        self.0.contains_key(&(key.id)())
    }
}
