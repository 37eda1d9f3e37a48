//! Whether a program works, as a probe asks it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::metrics_server::MetricsServer;
use super::run::Failure;
use super::service_manager::ServiceManager;
use crate::admin::Rows;
use crate::backend::Backend;
use crate::calls::ExecutorMonitor;
use crate::config::Config;
use crate::db::{Address, Db, DbError};
use crate::error::is_missing_table;
use crate::relay::RelayMonitor;
use crate::runtime::shutdown::Shutdown;
use crate::status::BrokerConnection;
use crate::subscriber::SubscriberMonitor;

/// How long the database may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Least time between two checks of the database.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A part of a program.
pub(super) enum Part {
    Relay(RelayMonitor),
    Subscriber(String, SubscriberMonitor),
    Executor(ExecutorMonitor),
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Relay(_) => "relay".to_owned(),
            Self::Subscriber(queue, _) => format!("subscriber of {}", queue.escape_debug()),
            Self::Executor(_) => "executor".to_owned(),
        }
    }

    fn has_turned_within(&self, limit: Duration) -> bool {
        match self {
            Self::Relay(monitor) => monitor.has_turned_within(limit),
            Self::Subscriber(_, monitor) => monitor.has_turned_within(limit),
            Self::Executor(monitor) => monitor.has_turned_within(limit),
        }
    }

    /// Whether it has the connection to the broker that it needs.
    fn is_connected(&self) -> bool {
        let connection = match self {
            Self::Relay(monitor) => monitor.status().connection,
            Self::Subscriber(_, monitor) => monitor.status().connection,
            Self::Executor(_) => return true,
        };
        connection == BrokerConnection::Connected
    }

    /// The destinations whose circuits are open, and their number, which may be greater.
    fn open_circuits(&self) -> (Vec<String>, usize) {
        match self {
            Self::Relay(monitor) => {
                let status = monitor.status();
                (status.open_circuits, status.open_circuit_count)
            }
            Self::Subscriber(..) | Self::Executor(_) => (Vec::new(), 0),
        }
    }
}

/// Shows the health of a program's parts to whom asks at `metrics_listen`, with samples of `rows`, and to the service
/// manager that has started the program. It does so on a thread of its own, which works while the program is stuck.
pub(super) fn show<C: Backend>(
    config: &Config,
    address: &Address,
    parts: Vec<Part>,
    server: Option<MetricsServer>,
    rows: &[Rows],
    service_manager: Option<(ServiceManager, &Shutdown)>,
) -> Result<(), Failure> {
    if server.is_none() && service_manager.is_none() {
        return Ok(());
    }
    let health = Arc::new(Health::<C>::new(config, address, parts));
    let rows = rows.to_vec();
    let manager = service_manager.map(|(manager, shutdown)| (manager, shutdown.clone()));
    // A task that blocks a thread of the program's own runtime may also stop its sockets and timers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    let work = move || {
        runtime.block_on(async {
            if let Some(server) = server
                && let Err(error) = server.serve(Arc::clone(&health), &rows)
            {
                tracing::error!(error = %error, "metrics and health are not served");
            }
            if let Some((manager, shutdown)) = manager {
                manager.report(health, &shutdown);
            }
            std::future::pending::<()>().await;
        });
    };
    let thread = std::thread::Builder::new().name("health".to_owned());
    thread.spawn(work).map(drop).map_err(Failure::runtime)
}

/// The health of a program.
pub(super) struct Health<C: Backend> {
    db: Db<C>,
    parts: Vec<Part>,
    live_timeout: Duration,
    /// The last check of the database: when it was made, and the problem that it found.
    last: Mutex<Option<(Instant, Option<&'static str>)>>,
}

impl<C: Backend> Health<C> {
    /// The health of these parts, and of their database.
    pub(super) fn new(config: &Config, address: &Address, parts: Vec<Part>) -> Self {
        Self {
            db: Db::for_callbacks(config, address, 1),
            parts,
            live_timeout: config.live_timeout,
            last: Mutex::new(None),
        }
    }

    /// The connection to the database by which it is checked.
    pub(super) fn db(&self) -> &Db<C> {
        &self.db
    }

    /// Why the program should be restarted; empty: it is alive.
    pub(super) fn live(&self) -> Vec<String> {
        let limit = self.live_timeout;
        let parts = self.parts.iter();
        let stuck = parts.filter(|part| !part.has_turned_within(limit));
        stuck
            .map(|part| format!("{}: no turn of its loop in {limit:?}", part.name()))
            .collect()
    }

    /// Why the program cannot work now; empty: it is ready. The texts contain no address: the page has no login.
    pub(super) async fn ready(&self) -> Vec<String> {
        let mut problems: Vec<String> = self
            .database()
            .await
            .map(str::to_owned)
            .into_iter()
            .collect();
        let parts = self.parts.iter().filter(|part| !part.is_connected());
        problems.extend(parts.map(|part| format!("{}: not connected to the broker", part.name())));
        problems
    }

    /// What an operator should know, although a restart or another target of a load balancer would not change it: one
    /// line for each open circuit.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for part in &self.parts {
            let (open, count) = part.open_circuits();
            let lines = open.iter();
            notes.extend(lines.map(|it| format!("circuit open: {}", it.escape_debug())));
            if count > open.len() {
                notes.push(format!("circuits open: {} more", count - open.len()));
            }
        }
        notes
    }

    async fn database(&self) -> Option<&'static str> {
        let mut last = self.last.lock().await;
        if let Some((time, problem)) = *last
            && time.elapsed() < CHECK_INTERVAL
        {
            return problem;
        }
        let problem = match timeout(ANSWER_TIMEOUT, self.db.run(C::check_tables)).await {
            Ok(Ok(())) => None,
            Ok(Err(DbError::Statement(error))) if is_missing_table(&error) => {
                Some("database: the tables are missing or out of date")
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "not ready");
                Some("database: not available")
            }
            Err(_) => Some("database: no answer"),
        };
        *last = Some((Instant::now(), problem));
        problem
    }
}
