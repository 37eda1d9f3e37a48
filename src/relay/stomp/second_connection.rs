//! A second connection to the broker, which shows whether the broker works.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::stomp::{Client, Connector, Error as StompError};

use super::Job;

/// How long the broker may take to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// The second connection.
#[derive(Default)]
pub(super) struct SecondConnection {
    state: State,
    /// Whether the log says that the broker refuses it.
    is_refused: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Absent,
    Opening(Job<Result<Client, StompError>>),
    Open(Client),
}

impl SecondConnection {
    /// The connection, if it is there.
    pub(super) fn client(&self) -> Option<Client> {
        match &self.state {
            State::Open(client) => Some(client.clone()),
            State::Absent | State::Opening(_) => None,
        }
    }

    /// Begins to connect, if it is neither connected nor being connected.
    pub(super) fn open(&mut self, connector: &Arc<Connector>) {
        if !matches!(self.state, State::Absent) {
            return;
        }
        let connector = Arc::clone(connector);
        self.state = State::Opening(Box::pin(async move {
            let client = connector.connect_once().await;
            if client.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            client
        }));
    }

    /// Closes the connection if it is there.
    pub(super) fn close(&mut self) {
        if matches!(self.state, State::Open(_)) {
            self.state = State::Absent;
        }
    }

    /// Stops connecting.
    pub(super) fn cancel(&mut self) {
        if matches!(self.state, State::Opening(_)) {
            self.state = State::Absent;
        }
    }

    /// Waits until an attempt to connect has ended. Safe to cancel. The log says once if the broker refuses the
    /// connection: one that is away ends the first connection, too.
    pub(super) async fn changed(&mut self) {
        let State::Opening(job) = &mut self.state else {
            return pending().await;
        };
        self.state = match job.await {
            Ok(client) => {
                self.is_refused = false;
                State::Open(client)
            }
            Err(error) => {
                if matches!(error, StompError::Refused { .. }) && !self.is_refused {
                    self.is_refused = true;
                    tracing::warn!(
                        error = %error,
                        "the broker refuses the second connection, which shows whether a row or the broker is at fault; \
                         rows wait for it: allow two connections for each relay"
                    );
                }
                State::Absent
            }
        };
    }
}

/// Whether the broker responds on this connection.
pub(super) async fn responds(second: &Client) -> bool {
    matches!(timeout(RESPONSE_TIMEOUT, second.ping()).await, Ok(Ok(())))
}
