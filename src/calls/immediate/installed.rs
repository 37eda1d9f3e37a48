//! The handle that the function [`transaction`] uses.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Once, PoisonError, RwLock};

use super::immediate::Immediate;
use crate::backend::{AsBackend, Backend, Storage};

type Handles = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// The handle for each type of connection.
static INSTALLED: LazyLock<RwLock<Handles>> = LazyLock::new(RwLock::default);

static MISSING: Once = Once::new();

pub(super) fn install<C: Backend>(handle: Arc<Immediate<C>>) {
    let mut installed = INSTALLED.write().unwrap_or_else(PoisonError::into_inner);
    installed.insert(TypeId::of::<C>(), handle);
}

fn installed<C: Backend>() -> Option<Arc<Immediate<C>>> {
    let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    let handle = Arc::clone(installed.get(&TypeId::of::<C>())?);
    drop(installed);
    handle.downcast().ok()
}

/// Runs `work` in a transaction, and after its commit the calls that were written in it, in this thread, as
/// [`Immediate::transaction`] does with the handle that was [installed](Immediate::install) for this type of
/// connection.
///
/// If none was installed, the calls wait for an executor, and a warning is logged once.
///
/// ```
/// use diesel::prelude::*;
/// use diesel_outbox::calls::{Calls, Immediate};
/// use diesel_outbox::config::Config;
/// use diesel_outbox::prelude::*;
/// use diesel_outbox::{self as outbox};
///
/// #[outboxed(name = "shop.welcome")]
/// fn welcome(customer: &str) {
///     println!("Welcome, {customer}");
/// }
///
/// fn register(conn: &mut SqliteConnection, customer: &str) -> Result<(), outbox::Error> {
///     outbox::transaction(conn, |conn| {
///         // The customer's own row, and then:
///         welcome::later(conn, customer)?;
///         Ok(())
///     })
/// }
///
/// # use diesel_outbox::migrations::Migrate;
/// # let folder = tempfile::tempdir()?;
/// # let url = folder.path().join("shop.db").display().to_string();
/// // At the start of the program:
/// let config = Config::builder().set("database_url", url.as_str()).build()?;
/// let calls = Calls::<SqliteConnection>::new().add::<welcome>();
/// Immediate::new(&config, calls)?.install();
///
/// let mut conn = SqliteConnection::establish(&url)?;
/// # conn.migrate()?;
/// register(&mut conn, "Ann")?; // prints the welcome before it returns
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// That of `work`, or the database's. No call is executed then. What a call returns does not change the result.
pub fn transaction<A, T, E>(
    conn: &mut A,
    work: impl FnOnce(&mut A::Connection) -> Result<T, E>,
) -> Result<T, E>
where
    A: AsBackend,
    E: From<diesel::result::Error>,
{
    match installed::<A::Connection>() {
        Some(handle) => handle.transaction(conn, work),
        None => {
            MISSING.call_once(|| {
                tracing::warn!(
                    "`transaction` executes no calls, because no `Immediate` was installed for this type of \
                     connection; they wait for an executor"
                );
            });
            conn.as_backend().atomically(work)
        }
    }
}
