//! The connection that rows go out on, and the second one that bears witness.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::relay::RelayError;
use crate::stomp::{Client, Error as StompError};

use super::{Engine, WITNESS_PATIENCE};

/// How long to wait before another attempt to have one.
const WITNESS_PAUSE: Duration = Duration::from_secs(1);

impl<C: Backend> Engine<'_, C> {
    pub(super) fn connect(&mut self) {
        if self.client.is_some() || self.connecting.is_some() || self.stopping_since.is_some() {
            return;
        }
        let connector = Arc::clone(&self.connector);
        let (once, was_connected) = (self.once, self.was_connected);
        self.connecting = Some(Box::pin(async move {
            // A refused login or certificate is a mistake at the start, and an event in the broker's life later.
            let give_up = |error: &StompError| once || (!was_connected && error.is_final());
            connector.connect(give_up).await
        }));
    }

    pub(super) fn connected(&mut self, result: Result<Client, StompError>) {
        match result {
            Ok(client) => {
                if self.was_connected {
                    tracing::debug!(broker = client.server(), "connected again");
                } else {
                    tracing::info!(broker = client.server(), "connected");
                }
                self.client = Some(client);
                self.was_connected = true;
                self.is_warm = false;
                self.explained_until = None;
            }
            Err(error) => self.fail(RelayError::Broker(error)),
        }
    }

    /// The connection is gone. The receipts that were awaited have failed or are about to.
    pub(super) fn lost(&mut self, error: &StompError) {
        self.client = None;
        let flying = std::mem::take(&mut self.flying);
        let is_explained = self
            .explained_until
            .is_some_and(|until| Instant::now() < until);
        if is_explained || error.is_closed_by_us() || error.is_silence() || flying.is_empty() {
            return;
        }
        tracing::info!(
            in_flight = flying.len(),
            error = %error,
            "the broker closed the connection; what was in flight is sent again, one at a time"
        );
        self.suspects.suspect(flying);
    }

    pub(super) fn summon_witness(&mut self) {
        if self.summoning.is_some() || self.stopping_since.is_some() {
            return;
        }
        let connector = Arc::clone(&self.connector);
        self.summoning = Some(Box::pin(async move {
            let witness = connector.once().await;
            if witness.is_err() {
                tokio::time::sleep(WITNESS_PAUSE).await;
            }
            witness
        }));
    }

    pub(super) async fn is_broker_well(&mut self) -> bool {
        let Some(witness) = &self.witness else {
            return false;
        };
        let is_well = matches!(timeout(WITNESS_PATIENCE, witness.ping()).await, Ok(Ok(())));
        if is_well {
            self.connector.is_well();
        } else {
            self.witness = None;
        }
        is_well
    }
}
