//! The callbacks of a service, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::backend::Backend;
use crate::builtin;
use crate::payload::{Json, Meta, Payload, Proof};
use crate::process_group::Programs;

/// Any error of a callback.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a callback that did not fail has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The message had its effect: it is remembered and acknowledged.
    Done,
    /// The message is of no use, for this reason: whatever the callback wrote is rolled back, and
    /// the message goes to the dead letters and leaves no row.
    Discard(String),
}

type Transactional<C> = dyn Fn(&mut C, &Payload) -> Result<Outcome, BoxError> + Send + Sync;
pub(crate) type Managed<C> = dyn Fn(&mut C, &Payload) -> Result<Proof, BoxError> + Send + Sync;
type Call = dyn Fn(Payload) -> Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>
    + Send
    + Sync;

/// A callback that works elsewhere.
pub(crate) struct External {
    pub(crate) call: Box<Call>,
    /// The programs that it runs.
    pub(crate) programs: Option<Programs>,
}

/// A callback of one of the three kinds.
pub(crate) enum Callback<C> {
    /// Works on a connection of ours, and blocks its thread.
    Blocking(Blocking<C>),
    /// Works elsewhere; holds no connection.
    External(Arc<External>),
}

/// A callback that works on a connection.
pub(crate) enum Blocking<C> {
    /// Works in the inbox's transaction.
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

/// What is wrong with the callbacks, or with the choice of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two callbacks have one name.
    #[error("the callback `{0}` is registered twice: give one of them another name")]
    Twice(String),
    /// Nobody registered this name.
    #[error("no callback is named `{name}`; there are: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The program of `exec:` cannot be run.
    #[error("exec: {0}")]
    Exec(#[from] builtin::ExecError),
}

/// The callbacks of a service. The built-in ones (`log`, `store`, `exec:<program>`) are always
/// there.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel_outbox::{BoxError, Outcome, Payload, Registry};
///
/// fn created(_conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
///     let order: serde_json::Value = payload.json()?;
///     // … statements on the connection, in the transaction that remembers the message
///     let _ = order;
///     Ok(Outcome::Done)
/// }
///
/// let registry = Registry::<SqliteConnection>::new().on("orders.created", created);
/// assert!(registry.names().any(|name| name == "orders.created"));
/// # }
/// ```
pub struct Registry<C> {
    callbacks: BTreeMap<String, Callback<C>>,
    twice: Option<String>,
}

impl<C> fmt::Debug for Registry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.callbacks).finish()
    }
}

impl<C: Backend> Default for Registry<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Backend> Registry<C> {
    /// The built-in callbacks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            callbacks: BTreeMap::new(),
            twice: None,
        }
        .on("log", builtin::log)
        .on("store", builtin::store)
    }

    /// Registers a callback that works in the inbox's transaction: the message is remembered by
    /// its first statement, an `Ok` commits and is acknowledged, an error or a panic rolls back.
    ///
    /// It is called on a thread for blocking work.
    #[must_use]
    pub fn on<F>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(&mut C, &Payload) -> Result<Outcome, BoxError> + Send + Sync + 'static,
    {
        let callback = Blocking::Transactional(Arc::new(callback));
        self.add(name.into(), Callback::Blocking(callback))
    }

    /// As [`on`](Self::on), for a callback that takes the body as a type of its own. A body that does
    /// not fit is a [`Permanent`](crate::Permanent) failure with serde's message.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use diesel::SqliteConnection;
    /// use diesel_outbox::{BoxError, Json, Meta, Outcome, Registry};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     id: i32,
    /// }
    ///
    /// fn created(
    ///     _conn: &mut SqliteConnection,
    ///     Json(order): Json<Order>,
    ///     meta: &Meta,
    /// ) -> Result<Outcome, BoxError> {
    ///     println!("the order {} by {}", order.id, meta.msg_id());
    ///     Ok(Outcome::Done)
    /// }
    ///
    /// let registry = Registry::<SqliteConnection>::new().on_json("orders.created", created);
    /// # let _ = registry;
    /// # }
    /// ```
    #[must_use]
    pub fn on_json<T, F>(self, name: impl Into<String>, callback: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(&mut C, Json<T>, &Meta) -> Result<Outcome, BoxError> + Send + Sync + 'static,
    {
        self.on(name, move |conn: &mut C, payload: &Payload| {
            callback(conn, Json(payload.json()?), payload)
        })
    }

    /// Registers a callback that opens its own transaction. It has to call [`Payload::save`] in
    /// it, or [`Payload::nack`], and return the proof.
    #[must_use]
    pub fn on_managed<F>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(&mut C, &Payload) -> Result<Proof, BoxError> + Send + Sync + 'static,
    {
        let callback = Blocking::Managed(Arc::new(callback));
        self.add(name.into(), Callback::Blocking(callback))
    }

    /// Registers a callback whose work is not in the database: a web call, a program. No
    /// connection and no transaction is held while it runs; the message is remembered afterwards,
    /// so that **the work may happen twice**.
    #[must_use]
    pub fn on_external<F, R>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(Payload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
    {
        let callback = move |payload| -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(callback(payload))
        };
        let external = External {
            call: Box::new(callback),
            programs: None,
        };
        self.add(name.into(), Callback::External(Arc::new(external)))
    }

    /// The names of all callbacks, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.callbacks.keys().map(String::as_str)
    }

    fn add(mut self, name: String, callback: Callback<C>) -> Self {
        if self.callbacks.contains_key(&name) || name.starts_with(builtin::EXEC) {
            self.twice.get_or_insert(name);
        } else {
            self.callbacks.insert(name, callback);
        }
        self
    }

    /// The callback of this name.
    pub(crate) fn get(
        &self,
        name: &str,
        exec_timeout: Option<std::time::Duration>,
    ) -> Result<Callback<C>, RegistryError> {
        if let Some(name) = &self.twice {
            return Err(RegistryError::Twice(name.clone()));
        }
        if let Some(program) = name.strip_prefix(builtin::EXEC) {
            let exec = Arc::new(builtin::Exec::new(program, exec_timeout)?);
            return Ok(Callback::External(Arc::new(External {
                programs: Some(exec.programs().clone()),
                call: Box::new(move |payload| {
                    let exec = Arc::clone(&exec);
                    Box::pin(async move { exec.run(&payload).await })
                }),
            })));
        }
        self.callbacks
            .get(name)
            .cloned()
            .ok_or_else(|| RegistryError::Unknown {
                name: name.to_owned(),
                known: self
                    .names()
                    .chain(["exec:<program>"])
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}
