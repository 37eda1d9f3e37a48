//! The callbacks of a service, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::builtin;
use super::celery::{self, Celery, TaskMessage, Tasks};
use super::kind::{Blocking, Callback, External};
use super::outcome::IntoOutcome;
use super::payload::{Json, Meta, Payload, Proof};
use super::registry_error::RegistryError;
use crate::backend::Backend;
use crate::error::BoxError;
use crate::permanent::Permanent;

/// The callbacks of a service. The built-in ones (`log`, `store`, `exec:<program>`) are always
/// registered.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel_outbox::{BoxError, Payload, Registry};
///
/// fn created(_conn: &mut SqliteConnection, payload: &Payload) -> Result<(), BoxError> {
///     let order: serde_json::Value = payload.json()?;
///     // … statements on the connection, in the transaction of the inbox row
///     let _ = order;
///     Ok(())
/// }
///
/// let registry = Registry::<SqliteConnection>::new().on("orders.created", created);
/// assert!(registry.names().any(|name| name == "orders.created"));
/// # }
/// ```
pub struct Registry<C> {
    callbacks: BTreeMap<String, Callback<C>>,
    tasks: Tasks<C>,
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
            tasks: Tasks::default(),
            twice: None,
        }
        .on("log", builtin::log)
        .on("store", builtin::store)
    }

    /// Registers a callback that works in the transaction of the inbox row. The first statement inserts
    /// the row; a success commits and the message is acknowledged, an error or a panic rolls back.
    ///
    /// It is called on a thread for blocking work. See [`IntoOutcome`] for what it may return; a closure
    /// has to name its error type, such as `-> Result<Outcome, BoxError>`.
    #[must_use]
    pub fn on<F, R>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(&mut C, &Payload) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        let call = move |conn: &mut C, payload: &Payload| callback(conn, payload).into_outcome();
        let callback = Blocking::Transactional(Arc::new(call));
        self.add(name.into(), Callback::Blocking(callback))
    }

    /// Registers a callback as [`on`](Self::on) does, which gets the body as its own type. A body of
    /// another shape is a [`Permanent`](crate::Permanent) failure with serde's message.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use diesel::SqliteConnection;
    /// use diesel_outbox::{Json, Meta, Registry};
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
    /// ) {
    ///     println!("order {} in message {}", order.id, meta.msg_id());
    /// }
    ///
    /// let registry = Registry::<SqliteConnection>::new().on_json("orders.created", created);
    /// # let _ = registry;
    /// # }
    /// ```
    #[must_use]
    pub fn on_json<T, F, R>(self, name: impl Into<String>, callback: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(&mut C, Json<T>, &Meta) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        self.on(name, move |conn: &mut C, payload: &Payload| {
            callback(conn, Json(payload.json()?), payload).into_outcome()
        })
    }

    /// Registers a task that Celery clients call by this name (`app.send_task("shop.charge", …)`). It works
    /// in the transaction of the inbox row, as a callback of [`on`](Self::on) does.
    ///
    /// One queue carries many tasks, so all of them belong to one callback with the name `celery`:
    /// `subscribe celery /amq/queue/shop`. It runs the task that a message names in its header `task`. It
    /// recognises duplicates by the task's id, without a setting: the header `id` counts after those of
    /// `msg_id_headers`, and before `message-id`. A task that is not registered, that is not JSON, that has
    /// expired, or whose arguments do not fit is a [`Permanent`](crate::Permanent) failure, with a
    /// [`CeleryError`](crate::CeleryError). A task with an `eta` or `countdown` waits in the outbox until it
    /// is due, which needs a relay on the same database. No result is stored. `docs/celery.md` has the details.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use diesel::SqliteConnection;
    /// use diesel_outbox::{Celery, Meta, Registry};
    ///
    /// // def charge(order, currency="eur")
    /// #[derive(serde::Deserialize)]
    /// struct Charge {
    ///     order: i32,
    ///     #[serde(default)]
    ///     currency: Option<String>,
    /// }
    ///
    /// fn charge(_conn: &mut SqliteConnection, Celery(charge): Celery<Charge>, _meta: &Meta) {
    ///     println!("order {} in {:?}", charge.order, charge.currency);
    /// }
    ///
    /// let registry = Registry::<SqliteConnection>::new().on_celery("shop.charge", charge);
    /// assert!(registry.names().any(|name| name == "celery"));
    /// # }
    /// ```
    #[must_use]
    pub fn on_celery<T, F, R>(mut self, task: impl Into<String>, callback: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(&mut C, Celery<T>, &Meta) -> R + Send + Sync + 'static,
        R: IntoOutcome,
    {
        let (task, is_first) = (task.into(), self.tasks.is_empty());
        let call = move |conn: &mut C, message: TaskMessage, payload: &Payload| {
            let arguments = message.arguments().map_err(Permanent::new)?;
            callback(conn, Celery(arguments), payload).into_outcome()
        };
        if !self.tasks.add(&task, call) {
            self.twice.get_or_insert(task);
            return self;
        }
        let tasks = self.tasks.clone();
        let run = move |conn: &mut C, payload: &Payload| tasks.run(conn, payload);
        let run = Callback::Blocking(Blocking::Transactional(Arc::new(run)));
        if is_first {
            return self.add(celery::CALLBACK.to_owned(), run);
        }
        self.callbacks.insert(celery::CALLBACK.to_owned(), run);
        self
    }

    /// Registers a callback that opens its own transaction. It calls [`Payload::save`] in the transaction,
    /// or [`Payload::nack`], and returns the proof.
    #[must_use]
    pub fn on_managed<F>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(&mut C, &Payload) -> Result<Proof, BoxError> + Send + Sync + 'static,
    {
        let callback = Blocking::Managed(Arc::new(callback));
        self.add(name.into(), Callback::Blocking(callback))
    }

    /// Registers a callback whose work is not in the database, such as a web call or a program. It holds no
    /// connection and no transaction while it runs; the inbox row is written afterwards, so **the work may
    /// happen twice**.
    #[must_use]
    pub fn on_external<F, R>(self, name: impl Into<String>, callback: F) -> Self
    where
        F: Fn(Payload) -> R + Send + Sync + 'static,
        R: Future<Output: IntoOutcome> + Send + 'static,
    {
        let callback = move |payload| -> Pin<Box<dyn Future<Output = _> + Send>> {
            let work = callback(payload);
            Box::pin(async move { work.await.into_outcome() })
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

    /// Whether the callback of this name runs Celery tasks.
    pub(crate) fn runs_tasks(&self, name: &str) -> bool {
        name == celery::CALLBACK && !self.tasks.is_empty()
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
