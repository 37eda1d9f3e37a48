//! Whether a program works, as a probe asks it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::calls::ExecutorMonitor;
use crate::db::{Db, DbError};
use crate::error::is_missing_table;
use crate::relay::RelayMonitor;
use crate::status::BrokerConnection;
use crate::subscriber::SubscriberMonitor;

/// A loop that has not turned for this long is stuck; without work it turns every 10 s.
const TURN_LIMIT: Duration = Duration::from_secs(60);
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

    fn turns(&self) -> bool {
        match self {
            Self::Relay(monitor) => monitor.has_turned_within(TURN_LIMIT),
            Self::Subscriber(_, monitor) => monitor.has_turned_within(TURN_LIMIT),
            Self::Executor(monitor) => monitor.has_turned_within(TURN_LIMIT),
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

/// The health of a program.
pub(super) struct Health<C: Backend> {
    db: Db<C>,
    parts: Vec<Part>,
    /// The last check of the database: when it was made, and the problem that it found.
    last: Mutex<Option<(Instant, Option<&'static str>)>>,
}

impl<C: Backend> Health<C> {
    pub(super) fn new(db: Db<C>, parts: Vec<Part>) -> Self {
        Self {
            db,
            parts,
            last: Mutex::new(None),
        }
    }

    /// Why the program should be restarted; empty: it is alive.
    pub(super) fn live(&self) -> Vec<String> {
        let stuck = self.parts.iter().filter(|part| !part.turns());
        stuck
            .map(|part| format!("{}: no turn of its loop in 60 s", part.name()))
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
