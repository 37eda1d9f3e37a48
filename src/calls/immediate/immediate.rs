//! The handle whose transactions execute their calls after the commit.

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use super::committed::Committed;
use super::installed::install;
use super::open_transaction::{self, Terms};
use super::renewals::Renewals;
use crate::backend::lease_token::Holder;
use crate::backend::{AsBackend, Backend};
use crate::calls::executor::{
    CallEvent, ExecutorError, ExecutorMonitor, ExecutorObserver, ExecutorStats,
};
use crate::calls::registry::Calls;
use crate::config::Config;
use crate::db::{Address, Db};
use crate::engine::hooks::Hooks;
use crate::engine::settings::Settings;
use crate::engine::signatures::{Checked, Warnings};
use crate::engine::wake::Waker;
use crate::metrics::CallMetrics;

/// Connections to the database: for renewals, and for results if the caller's connection fails.
const CONNECTIONS: u32 = 2;

/// Executes calls right after the commit, in the thread that wrote them.
///
/// A call that is written inside of [`transaction`](Self::transaction) has its row in the same transaction, under a
/// lease. After the commit it is executed at once, in the order of writing. If the process dies, the lease ends after
/// at most the setting `call_lease`, and an executor takes over, so **an [`Executor`](crate::calls::Executor) has to run somewhere**: it also
/// executes what fails here, and what is not executed here.
///
/// ```
/// use diesel::prelude::*;
/// use diesel_outbox::calls::{Calls, Immediate};
/// use diesel_outbox::config::Config;
/// use diesel_outbox::prelude::*;
///
/// #[outboxed(name = "shop.receipt")]
/// fn receipt(order: i64) -> Result<(), BoxError> {
///     println!("A receipt for order {order}");
///     Ok(())
/// }
///
/// # use diesel_outbox::{admin::Rows, migrations::Migrate};
/// # let folder = tempfile::tempdir()?;
/// # let url = folder.path().join("shop.db").display().to_string();
/// let config = Config::builder().set("database_url", url.as_str()).build()?;
/// let calls = Calls::<SqliteConnection>::new().add::<receipt>();
/// let immediate = Immediate::new(&config, calls)?
///     .on_failed(|call| println!("{}: {:?}", call.name, call.error));
///
/// let conn = &mut SqliteConnection::establish(&url)?;
/// # conn.migrate()?;
/// immediate.transaction::<_, _, diesel_outbox::Error>(conn, |conn| {
///     // The order's own rows, and then:
///     receipt::later(conn, 7)?; // executed after the commit
///     Ok(())
/// })?;
/// assert_eq!(immediate.stats().executed, 1);
/// # assert_eq!(Rows::Calls.count(conn)?.waiting, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is executed here
///
/// | call | |
/// | --- | --- |
/// | `fn f(…)`, `fn f(conn: &mut C, …)` of the registry | in the calling thread; the latter on the caller's connection, in the transaction that records the call as done |
/// | `async fn f(…)` of the registry | on the multi-thread runtime in which the handle was made, while the calling thread waits; without one it waits for an executor |
/// | with a `delay` or `due_at`, in a paused stream, or of a function that the registry does not have | waits for an executor |
/// | with an ordering key, and an earlier call of this key waits, is leased or is parked | waits for an executor, and so do the later ones of the key |
/// | in a transaction that was open before | waits for an executor |
/// | after the first 1,000 of a transaction | waits for an executor |
///
/// A failed call is recorded as an executor records it: it is executed again by an executor after a pause, or parked.
/// Its error does not change the result of the transaction.
pub struct Immediate<C: Backend> {
    pub(super) calls: Arc<Calls<C>>,
    pub(super) db: Db<C>,
    pub(super) settings: Settings,
    /// The time limit of a function that has none of its own.
    pub(super) timeout: Option<Duration>,
    pub(super) runtime: Option<Handle>,
    pub(super) renewals: Renewals<C>,
    /// Wakes an executor of this process.
    pub(super) waker: Option<Waker>,
    signature_warnings: Mutex<Warnings>,
    hooks: Hooks<CallEvent>,
    monitor: ExecutorMonitor,
    /// Started with the first transaction that has calls.
    observer: OnceLock<Mutex<ExecutorObserver>>,
    holder: Holder,
}

impl<C: Backend> fmt::Debug for Immediate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Immediate")
            .field("calls", &self.calls)
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl<C: Backend> Immediate<C> {
    /// Creates a handle with these settings and functions. Nothing is connected yet: a connection of its own is
    /// opened if a call runs for a third of `call_lease`.
    ///
    /// In a service that has an [`Executor`](crate::calls::Executor), [`Executor::immediate`](crate::calls::Executor::immediate) creates a handle with the same functions.
    ///
    /// # Errors
    ///
    /// As [`Executor::new`](crate::calls::Executor::new).
    pub fn new(config: &Config, calls: Calls<C>) -> Result<Self, ExecutorError> {
        config.validate()?;
        calls.check()?;
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        let policies = calls.names().map(|(name, function)| (name, function.retry));
        let settings = Settings::of_calls(config, policies);
        let db = Db::for_engine(config, &address, CONNECTIONS);
        Ok(Self::with(
            Arc::new(calls),
            db,
            settings,
            config.call_timeout,
            Hooks::default(),
            None,
        ))
    }

    pub(in crate::calls) fn with(
        calls: Arc<Calls<C>>,
        db: Db<C>,
        settings: Settings,
        timeout: Option<Duration>,
        hooks: Hooks<CallEvent>,
        waker: Option<Waker>,
    ) -> Self {
        let renewals = Renewals::new(db.clone(), settings.lease);
        let this = Self {
            calls,
            db,
            settings,
            timeout,
            runtime: None,
            renewals,
            waker,
            signature_warnings: Mutex::default(),
            hooks,
            monitor: ExecutorMonitor::default(),
            observer: OnceLock::new(),
            holder: Holder::default(),
        };
        match Handle::try_current() {
            Ok(runtime) => this.runtime(runtime),
            Err(_) => this,
        }
    }

    /// Sets the runtime of async functions, instead of the one in which the handle was made. A runtime of one thread
    /// is ignored: the calling thread, which waits for the function, may be that thread.
    #[must_use]
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime).filter(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
        self
    }

    /// Wakes this executor if a call is left to it; see [`Executor::waker`](crate::calls::Executor::waker).
    #[must_use]
    pub fn waker(mut self, waker: Waker) -> Self {
        self.waker = Some(waker);
        self
    }

    /// Calls `hook` for each call whose function returned Ok; see [`Executor::on_executed`](crate::calls::Executor::on_executed). Hooks are called on a
    /// separate thread.
    #[must_use]
    pub fn on_executed(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.sent = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each failed attempt after which the call is retried; see [`Executor::on_failed`](crate::calls::Executor::on_failed).
    #[must_use]
    pub fn on_failed(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.failed = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each call that is parked; see [`Executor::on_parked`](crate::calls::Executor::on_parked).
    #[must_use]
    pub fn on_parked(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.parked = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each failed attempt and for each call that is parked, once for an attempt that does both:
    /// a place for an error tracker; see [`Executor::on_error`](crate::calls::Executor::on_error).
    #[must_use]
    pub fn on_error(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.error = Some(Arc::new(hook));
        self
    }

    /// Makes this handle the one of the function [`transaction`](super::transaction), in place of an earlier one
    /// for this type of connection. Returns it.
    pub fn install(self) -> Arc<Self> {
        let handle = Arc::new(self);
        install(Arc::clone(&handle));
        handle
    }

    /// The numbers of calls that were executed here, that failed here, and that were parked.
    #[must_use]
    pub fn stats(&self) -> ExecutorStats {
        self.monitor.stats()
    }

    /// Runs `work` in a transaction, and after its commit the calls that were written in it, one after another in
    /// the order of writing, in this thread. Returns after the last of them.
    ///
    /// Calls count that are written on `conn`, by any function that `work` calls. Calls in a savepoint that was
    /// rolled back are not executed. On SQLite the transaction is an immediate one.
    ///
    /// If a transaction is open on `conn`, `work` runs in a savepoint. Its calls wait for an executor; but if the
    /// open transaction is one of this method, they are executed after its commit.
    ///
    /// A lease is renewed while its call runs. If the database cannot be reached for as long as the setting
    /// `call_lease`, an executor may run the call too; what is recorded then is the result of the one that has the
    /// lease.
    ///
    /// Leave BEGIN, COMMIT and ROLLBACK to this method.
    ///
    /// # Errors
    ///
    /// That of `work`, or the database's. No call is executed then; if it is unknown whether the COMMIT succeeded,
    /// an executor executes the calls of a transaction that did.
    pub fn transaction<A, T, E>(
        &self,
        conn: &mut A,
        work: impl FnOnce(&mut C) -> Result<T, E>,
    ) -> Result<T, E>
    where
        A: AsBackend<Connection = C>,
        E: From<diesel::result::Error>,
    {
        self.db.within(conn.as_backend(), |conn| {
            if open_transaction::is_open(conn) || conn.open_transactions()? > 0 {
                return conn.atomically(work);
            }
            let token = self.holder.token();
            let work = |conn: &mut C| {
                conn.atomically::<T, E>(|conn| {
                    let result = work(conn)?;
                    if open_transaction::has_unwritten(conn) {
                        // No row would show that the COMMIT of an aborted transaction is a rollback.
                        conn.check_transaction()?;
                    }
                    Ok(result)
                })
            };
            let (result, opened) = open_transaction::open(conn, self.terms(token), work);
            let result = result?;
            Committed::execute(self, conn, token, opened);
            Ok(result)
        })
    }

    fn terms(&self, token: Uuid) -> Terms {
        let (calls, has_runtime) = (Arc::clone(&self.calls), self.runtime.is_some());
        Terms {
            token,
            lease: self.settings.lease,
            executes: Rc::new(move |name| {
                let function = calls.find(name);
                function.is_some_and(|function| has_runtime || !function.is_async)
            }),
        }
    }

    pub(super) fn warn_of_signatures(&self, checked: &Checked) {
        let warnings = self.signature_warnings.lock();
        warnings
            .unwrap_or_else(PoisonError::into_inner)
            .warn(checked);
    }

    pub(super) fn observer(&self) -> MutexGuard<'_, ExecutorObserver> {
        let observer = self.observer.get_or_init(|| {
            let hooks = self.hooks.clone().start(self.settings.memory_limit / 4);
            let metrics = CallMetrics::new(self.calls.names().map(|(name, _)| name));
            Mutex::new(ExecutorObserver::new(hooks, self.monitor.clone(), metrics))
        });
        observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
