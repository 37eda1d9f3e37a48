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

/// The state of the second connection.
pub(super) enum SecondConnection {
    Absent,
    Opening(Job<Result<Client, StompError>>),
    Open(Client),
}

impl SecondConnection {
    /// The connection, if it is there.
    pub(super) fn client(&self) -> Option<Client> {
        match self {
            Self::Open(client) => Some(client.clone()),
            Self::Absent | Self::Opening(_) => None,
        }
    }

    /// Begins to connect, if it is neither connected nor being connected.
    pub(super) fn open(&mut self, connector: &Arc<Connector>) {
        if !matches!(self, Self::Absent) {
            return;
        }
        let connector = Arc::clone(connector);
        *self = Self::Opening(Box::pin(async move {
            let client = connector.connect_once().await;
            if client.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            client
        }));
    }

    /// Closes the connection if it is there.
    pub(super) fn close(&mut self) {
        if matches!(self, Self::Open(_)) {
            *self = Self::Absent;
        }
    }

    /// Stops connecting.
    pub(super) fn cancel(&mut self) {
        if matches!(self, Self::Opening(_)) {
            *self = Self::Absent;
        }
    }

    /// Waits until an attempt to connect has ended. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        let Self::Opening(job) = self else {
            return pending().await;
        };
        *self = job.await.map_or(Self::Absent, Self::Open);
    }
}

/// Whether the broker responds on this connection.
pub(super) async fn responds(second: &Client) -> bool {
    matches!(timeout(RESPONSE_TIMEOUT, second.ping()).await, Ok(Ok(())))
}
