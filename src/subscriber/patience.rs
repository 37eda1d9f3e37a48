//! What is said to a broker that stands still, until it has heard it.

use std::time::Duration;

use crate::outage::Outage;
use crate::shutdown::Shutdown;
use crate::stomp::{Client, Error, Receipt};

/// Sends a frame again while its receipt does not come in time, with pauses that grow, until we are
/// asked to stop or the connection ends: then the broker delivers the message again.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    shutdown: Shutdown,
    longest: Duration,
}

impl Patience {
    /// With pauses up to `longest`.
    pub(super) fn new(shutdown: &Shutdown, longest: Duration) -> Self {
        Self {
            shutdown: shutdown.clone(),
            longest,
        }
    }

    /// For a frame that may not come twice: again only where it was not written.
    pub(super) async fn once(
        &self,
        client: &Client,
        frame: impl Fn() -> Receipt,
    ) -> Result<(), Error> {
        let is_unwritten = |error: &Error| error.is_timeout() && !error.is_fate_unknown();
        self.insist(client, frame, is_unwritten).await
    }

    /// For anything that is tried until it does not fail so.
    pub(super) async fn insist<F: Future<Output = Result<(), Error>>>(
        &self,
        client: &Client,
        frame: impl Fn() -> F,
        again: impl Fn(&Error) -> bool,
    ) -> Result<(), Error> {
        let mut outage = Outage::new("the broker", self.longest);
        let mut is_told = false;
        loop {
            let error = match frame().await {
                Err(error) if again(&error) => error,
                other => return other,
            };
            if !is_told {
                tracing::warn!(error = %error, "the broker stands still; it is told again until it answers");
                is_told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(outage.pause()) => {}
                () = self.shutdown.wished() => return Err(error),
                error = client.closed() => return Err(error),
            }
        }
    }
}
