//! The connection on which rows are sent.

use std::collections::BTreeSet;
use std::future::pending;

use tokio::time::Instant;

use crate::backend::RowKey;
use crate::stomp::{Client, Error as StompError};

use super::Job;

/// The state of the connection.
pub(super) enum Connection {
    Closed,
    Opening(Job<Result<Client, StompError>>),
    Open(Session),
}

/// An open connection.
pub(super) struct Session {
    pub(super) client: Client,
    /// Rows in flight on this connection.
    pub(super) in_flight: BTreeSet<RowKey>,
    /// Whether a receipt has arrived on this connection.
    is_warm: bool,
    /// An ERROR explains the end of the connection until then.
    explained_until: Option<Instant>,
}

/// What happened to the connection.
pub(super) enum Change {
    Opened(Result<Client, StompError>),
    Lost(StompError),
}

impl Connection {
    pub(super) fn open(client: Client) -> Self {
        Self::Open(Session {
            client,
            in_flight: BTreeSet::new(),
            is_warm: false,
            explained_until: None,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether the connection counts as open and has ended.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Open(session) if session.client.is_closed())
    }

    /// Leaves [`Connection::Closed`] and returns what was there.
    pub(super) fn close(&mut self) -> Self {
        std::mem::replace(self, Self::Closed)
    }

    /// Stops opening.
    pub(super) fn cancel(&mut self) {
        if matches!(self, Self::Opening(_)) {
            *self = Self::Closed;
        }
    }

    /// A row is no longer in flight. Returns whether its receipt is the first of this connection.
    pub(super) fn ended(&mut self, row: RowKey, has_receipt: bool) -> bool {
        let Self::Open(session) = self else {
            return false;
        };
        let is_of_this = session.in_flight.remove(&row);
        let is_first = is_of_this && has_receipt && !session.is_warm;
        session.is_warm |= is_first;
        is_first
    }

    /// An ERROR explains an end of the connection until then.
    pub(super) fn explain_end(&mut self, until: Instant) {
        if let Self::Open(session) = self {
            session.explained_until = Some(until);
        }
    }

    /// Waits until the connection is opened or lost. Safe to cancel.
    pub(super) async fn changed(&mut self) -> Change {
        match self {
            Self::Closed => pending().await,
            Self::Opening(job) => {
                let result = job.await;
                *self = Self::Closed;
                Change::Opened(result)
            }
            Self::Open(session) => Change::Lost(session.client.closed().await),
        }
    }
}

impl Session {
    /// The number of rows that may be in flight: one until the first receipt, then `maximum`.
    pub(super) fn window(&self, maximum: usize) -> usize {
        if self.is_warm { maximum } else { 1 }
    }

    /// Whether an ERROR explains an end of the connection now.
    pub(super) fn is_end_explained(&self) -> bool {
        self.explained_until
            .is_some_and(|until| Instant::now() < until)
    }
}
