//! Frames that are sent again while the broker does not respond.

use std::time::Duration;

use crate::runtime::outage::Outage;
use crate::runtime::shutdown::Shutdown;
use crate::stomp::{Client, Error, Receipt};

/// Sends a frame again while its receipt does not come in time, with growing pauses, until the shutdown
/// signal is given or the connection ends. Then the broker redelivers the message.
#[derive(Debug, Clone)]
pub(super) struct RetrySend {
    shutdown: Shutdown,
    longest: Duration,
}

impl RetrySend {
    /// With pauses up to `longest`.
    pub(super) fn new(shutdown: &Shutdown, longest: Duration) -> Self {
        Self {
            shutdown: shutdown.clone(),
            longest,
        }
    }

    /// Sends a frame that must not arrive twice: again only if it was not written.
    pub(super) async fn once(
        &self,
        client: &Client,
        frame: impl Fn() -> Receipt,
    ) -> Result<(), Error> {
        let is_unwritten = |error: &Error| error.is_timeout() && !error.is_outcome_unknown();
        self.send_until(client, frame, is_unwritten).await
    }

    /// Sends a frame until `again` is false for its error.
    pub(super) async fn send_until<F: Future<Output = Result<(), Error>>>(
        &self,
        client: &Client,
        frame: impl Fn() -> F,
        again: impl Fn(&Error) -> bool,
    ) -> Result<(), Error> {
        let mut outage = self.outage(self.longest);
        let mut has_warned = false;
        loop {
            let error = match frame().await {
                Err(error) if again(&error) => error,
                other => return other,
            };
            if let Error::ErrorFrame(_) = error {
                tracing::debug!(error = %error, "the broker sent ERROR; sending again");
            } else if matches!(error, Error::ConnectionLost { .. }) {
                tracing::debug!(error = %error, "the connection was lost; sending again");
            } else if !has_warned {
                tracing::warn!(error = %error, "broker not responding; sending again until it answers");
                has_warned = true;
            }
            if let Err(closed) = self.wait(client, outage.pause()).await {
                return Err(closed.unwrap_or(error));
            }
        }
    }

    /// The pauses between attempts, each at most this long.
    pub(super) fn outage(&self, longest: Duration) -> Outage {
        Outage::new("the broker", longest.min(self.longest))
    }

    /// Waits. Fails if the shutdown signal is given, or if the connection ends, with its error.
    pub(super) async fn wait(&self, client: &Client, pause: Duration) -> Result<(), Option<Error>> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.shutdown.requested() => Err(None),
            error = client.closed() => Err(Some(error)),
        }
    }
}
