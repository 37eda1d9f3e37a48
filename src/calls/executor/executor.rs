//! The executor of function calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::Execute;
use super::error::ExecutorError;
use super::event::CallEvent;
use super::execution::Shared;
use super::monitor::{ExecutorMonitor, ExecutorStats, ExecutorStatus};
use super::observer::ExecutorObserver;
use super::workers::Workers;
use crate::backend::{Backend, rights};
use crate::calls::immediate::Immediate;
use crate::calls::registry::Calls;
use crate::config::Config;
use crate::db::{Address, Db};
use crate::engine::hooks::Hooks;
use crate::engine::settings::Settings;
use crate::engine::unknown_stream::unknown_stream;
use crate::engine::wake::{Waker, Watcher};
use crate::engine::{Engine, EngineError, EngineParts};
use crate::metrics::{self, CallMetrics, Emitter};
use crate::runtime::cleanup::Cleanup;
use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::task::run_in_task;

/// Connections to the database: for a claim, a settlement, a renewal and the clean-up.
const CONNECTIONS: u32 = 4;

/// Executes the function calls of an outbox.
///
/// Any number of executors may work on one outbox. Each claims only the names that its registry has; other calls
/// wait for an executor that knows them.
///
/// A call runs under a lease, which is renewed while it runs. If the executor cannot reach the database for as
/// long as the setting `call_lease`, another one may run the call too; only a function in a transaction still has its
/// effect exactly once.
#[derive(Debug)]
pub struct Executor<C: Backend> {
    db: Db<C>,
    of_functions: Db<C>,
    calls: Arc<Calls<C>>,
    settings: Settings,
    workers: usize,
    timeout: Option<Duration>,
    crash_limit: Option<u32>,
    hooks: Hooks<CallEvent>,
    waker: Waker,
    monitor: ExecutorMonitor,
    /// Whether the executor watches the database for new rows.
    watches: bool,
    cleanup: Arc<Cleanup<C>>,
}

impl<C: Backend> Executor<C> {
    /// Creates an executor with these settings and functions. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`ExecutorError`] if the settings are invalid, the database's address cannot be parsed or is that of
    /// another database, or [`Calls::check`] fails.
    pub fn new(config: &Config, calls: Calls<C>) -> Result<Self, ExecutorError> {
        config.validate()?;
        calls.check()?;
        let address = Address::parse(config.require_database_url()?)?.for_backend::<C>()?;
        let db = Db::for_engine(config, &address, CONNECTIONS).needing(rights::OF_EXECUTOR);
        let workers = config.call_workers.unwrap_or_else(cores);
        let connections = u32::try_from(workers).unwrap_or(u32::MAX);
        metrics::register(Emitter::Executor);
        // Its series exist from now on.
        drop(CallMetrics::new(calls.names().map(|(name, _)| name)));
        let policies = calls.names().map(|(name, function)| (name, function.retry));
        Ok(Self {
            cleanup: Arc::new(Cleanup::of_calls(db.clone(), config)),
            db,
            of_functions: Db::for_callbacks(config, &address, connections),
            settings: Settings::of_calls(config, policies),
            workers,
            timeout: config.call_timeout,
            crash_limit: config.delivery_limit,
            calls: Arc::new(calls),
            hooks: Hooks::default(),
            waker: Waker::default(),
            monitor: ExecutorMonitor::default(),
            watches: config.wake_up,
        })
    }

    /// A handle that wakes this executor from the same process, for use after a commit.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// A handle whose transactions execute their calls right after the commit, in the calling thread, with the
    /// functions, the settings and the hooks that this executor has now. What is not executed there wakes this
    /// executor.
    #[must_use]
    pub fn immediate(&self) -> Immediate<C> {
        Immediate::with(
            Arc::clone(&self.calls),
            self.db.clone(),
            self.settings.clone(),
            self.timeout,
            self.hooks.clone(),
            Some(self.waker.clone()),
        )
    }

    /// A handle that shows what this executor does, while it runs and afterwards.
    #[must_use]
    pub fn monitor(&self) -> ExecutorMonitor {
        self.monitor.clone()
    }

    /// A snapshot of this executor's state. Because [`run`](Self::run) consumes the executor, use
    /// [`monitor`](Self::monitor) to get snapshots while it runs.
    #[must_use]
    pub fn status(&self) -> ExecutorStatus {
        self.monitor.status()
    }

    /// Calls `hook` for each call whose function returned Ok. The database may not have the result yet; if
    /// the executor dies before it does, the call is executed again, unless it works in a transaction.
    ///
    /// Hooks are called on a separate thread. A panic is logged. A hook that blocks delays the other
    /// hooks, not the executor: while 10,000 calls wait for hooks, hooks are not called for more.
    #[must_use]
    pub fn on_executed(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.sent = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each failed attempt after which the call is retried; see
    /// [`on_executed`](Self::on_executed). Outages are not failed attempts.
    #[must_use]
    pub fn on_failed(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.failed = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each call that is parked; see [`on_executed`](Self::on_executed).
    #[must_use]
    pub fn on_parked(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.parked = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each failed attempt and for each call that is parked, once for an attempt that does both:
    /// a place for an error tracker. It is called besides [`on_failed`](Self::on_failed) and
    /// [`on_parked`](Self::on_parked); see [`on_executed`](Self::on_executed). [`CallEvent::error`] is set.
    ///
    /// It is not called for errors of the executor itself, such as an unavailable database: those are in the log
    /// and in [`ExecutorStatus::last_error`].
    #[must_use]
    pub fn on_error(mut self, hook: impl Fn(&CallEvent) + Send + Sync + 'static) -> Self {
        self.hooks.error = Some(Arc::new(hook));
        self
    }

    /// Executes the calls that are due until `shutdown` is requested. Then it claims no more, waits for the
    /// calls that run, up to the setting `shutdown_timeout`, and releases the others. While the database is not
    /// available, it waits.
    ///
    /// The work is done in a task of the runtime. If this future is dropped, the task ends, and the leases
    /// end by themselves.
    ///
    /// # Errors
    ///
    /// [`ExecutorError`] if the tables are missing or a stream is unknown.
    pub async fn run(self, shutdown: &Shutdown) -> Result<ExecutorStats, ExecutorError> {
        let shutdown = shutdown.clone();
        run_in_task(async move { self.run_until(&shutdown).await }).await
    }

    async fn run_until(mut self, shutdown: &Shutdown) -> Result<ExecutorStats, ExecutorError> {
        self.db = self.db.until(shutdown);
        let mut outage = Outage::of_database(self.settings.maximum_backoff);
        if !self.db.ready(&mut outage, shutdown).await? {
            return Ok(ExecutorStats::default());
        }
        self.check_streams().await?;
        let _watcher = self.watches.then(|| Watcher::start(&self.db, &self.waker));
        let cleanup = Arc::clone(&self.cleanup);
        let cleaning = async {
            cleanup.run(shutdown).await;
            // It ends with the executor, not before it.
            std::future::pending().await
        };
        tokio::select! {
            stats = self.work(shutdown, false) => stats,
            never = cleaning => never,
        }
    }

    /// Executes all calls that are due now and ends, in a task as [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`ExecutorError`] if the tables are missing, a stream is unknown or the database is not available.
    pub async fn run_once(self, shutdown: &Shutdown) -> Result<ExecutorStats, ExecutorError> {
        let shutdown = shutdown.clone();
        run_in_task(async move { self.drain(&shutdown).await }).await
    }

    async fn drain(mut self, shutdown: &Shutdown) -> Result<ExecutorStats, ExecutorError> {
        self.db = self.db.until(shutdown);
        self.db.check_tables().await?;
        self.check_streams().await?;
        let cleanup = Arc::clone(&self.cleanup);
        let stats = self.work(shutdown, true).await?;
        cleanup.once().await;
        Ok(stats)
    }

    /// Fails if a stream of the settings is unknown. That of a function may have no rows yet.
    async fn check_streams(&self) -> Result<(), ExecutorError> {
        let functions = self.calls.names();
        let of_functions: BTreeSet<&str> = functions
            .filter_map(|(_, function)| function.stream)
            .collect();
        let mut streams = self.settings.scope.streams.clone();
        streams.retain(|stream| !of_functions.contains(stream.as_str()));
        let Some(mut unknown) = unknown_stream(&self.db, &streams).await? else {
            return Ok(());
        };
        let known = std::mem::take(&mut unknown.known).into_iter();
        let known = known.chain(of_functions.into_iter().map(str::to_owned));
        unknown.known = known.collect::<BTreeSet<_>>().into_iter().collect();
        Err(unknown.into())
    }

    async fn work(self, shutdown: &Shutdown, once: bool) -> Result<ExecutorStats, ExecutorError> {
        let shared = Shared {
            calls: self.calls,
            db: self.db.clone(),
            of_functions: self.of_functions,
            workers: Workers::new(self.workers),
            timeout: self.timeout,
            crash_limit: self.crash_limit,
        };
        let hooks = self.hooks.start(self.settings.memory_limit / 4);
        let metrics = CallMetrics::new(shared.calls.names().map(|(name, _)| name));
        let observer = ExecutorObserver::new(hooks, self.monitor.clone(), metrics);
        let parts = EngineParts {
            settings: self.settings,
            observer,
            waker: self.waker,
            once,
        };
        let delivery = Execute::new(shared, self.workers);
        let engine = Engine::new(self.db, delivery, parts, shutdown);
        match engine.run().await {
            Ok(()) => Ok(self.monitor.stats()),
            Err(EngineError::Database(error)) => Err(error.into()),
            Err(EngineError::Delivery(never)) => match never {},
        }
    }
}

/// The number of cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
