//! Reconnects with exponential backoff.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::client::{Client, Ended};
use super::error::Error;
use super::options::Options;

/// The first delay, unless the maximum is shorter.
const FIRST: Duration = Duration::from_millis(500);
/// The lower bound of the maximum delay.
const LEAST: Duration = Duration::from_millis(10);
/// Connections in a row that died young, at which this is logged.
const FLAPPING: u32 = 2;
/// A connection that lived for so long has ended an outage; one that died before is part of it.
const STABLE: Duration = Duration::from_secs(10);

/// Connects and reconnects with exponential backoff and jitter.
///
/// It keeps its state for the lifetime of the process: a connection that ends within 10 s does not
/// reset the backoff.
#[derive(Debug)]
pub struct Connector {
    options: Options,
    maximum: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backoff: ExponentialBackoff,
    /// An outage was logged, and its end was not.
    is_outage: bool,
    /// Connections end soon after they are made; do not log each of them.
    is_flapping: bool,
    /// Connections in a row that died young.
    young: u32,
    /// Somebody else has logged how the last connection ended.
    is_end_logged: bool,
    /// The connection made last, and when.
    last: Option<(Instant, Ended)>,
}

impl Connector {
    /// Creates a connector whose delay between attempts starts at about 0.5 s and doubles up to
    /// `maximum_backoff`. Jitter makes each delay up to 50 % shorter or longer, but never longer
    /// than `maximum_backoff`.
    #[must_use]
    pub fn new(options: Options, maximum_backoff: Duration) -> Self {
        let maximum = maximum_backoff.max(LEAST);
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST.min(maximum))
            .with_max_interval(maximum)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            // The crate's default stops after 15 minutes.
            .with_max_elapsed_time(None)
            .build();
        Self {
            options,
            maximum,
            state: Mutex::new(State {
                backoff,
                is_outage: false,
                is_flapping: false,
                young: 0,
                is_end_logged: false,
                last: None,
            }),
        }
    }

    /// Makes one attempt, which does not affect the backoff.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection.
    pub async fn connect_once(&self) -> Result<Client, Error> {
        Client::connect(&self.options).await
    }

    /// Resets the backoff because the broker is known to work: the next attempt is made at once.
    pub fn reset_backoff(&self) {
        let mut state = self.state();
        state.backoff.reset();
        state.is_flapping = false;
        state.young = 0;
        state.last = None;
    }

    /// Notes that the end of the last connection is in the log.
    pub(crate) fn end_is_logged(&self) {
        self.state().is_end_logged = true;
    }

    /// Tries until there is a connection. An outage is one `warn` in the log when it begins and
    /// one `info` when it is over; a connection that is lost and made again at once is an `info`. The
    /// first attempt is made at once, or after a wait if the last connection ended within 10 s and was
    /// not closed by us. Safe to cancel.
    ///
    /// # Errors
    ///
    /// The error for which `is_final` returns true; it is not logged.
    pub async fn connect(&self, is_final: impl Fn(&Error) -> bool) -> Result<Client, Error> {
        if let Some(wait) = self.wait_before_first() {
            debug!(?wait, "waiting before reconnecting to the broker");
            sleep(wait).await;
        }
        loop {
            let error = match Client::connect(&self.options).await {
                Ok(client) => {
                    self.succeeded(&client);
                    return Ok(client);
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => error,
            };
            let wait = self.failed(&error);
            debug!(%error, ?wait, "cannot connect to the broker; retrying");
            sleep(wait).await;
        }
    }

    /// How long to wait before the first attempt, depending on how the last connection ended.
    fn wait_before_first(&self) -> Option<Duration> {
        let mut state = self.state();
        let (since, ended) = state.last.as_ref()?;
        let (age, ended) = (since.elapsed(), ended.get());
        if age >= STABLE {
            state.backoff.reset();
            state.is_flapping = false;
            state.young = 0;
        }
        let error = ended?;
        state.last = None;
        let is_logged = std::mem::take(&mut state.is_end_logged);
        if error.is_closed_by_us() {
            return None;
        }
        let address = self.options.address();
        if age >= STABLE {
            if !is_logged {
                info!(address, %error, "the connection to the broker is lost; connecting again");
            }
            return None;
        }
        debug!(address, %error, "the connection to the broker is lost");
        state.is_flapping = true;
        state.young += u32::from(!is_logged);
        if state.young == FLAPPING && !std::mem::replace(&mut state.is_outage, true) {
            warn!(address, %error, "connections to the broker end soon after they are made");
        }
        Some(self.wait(&mut state))
    }

    fn succeeded(&self, client: &Client) {
        let mut state = self.state();
        state.last = Some((Instant::now(), client.ended()));
        let address = self.options.address();
        if state.is_flapping {
            debug!(address, "reconnected to the broker");
        } else if std::mem::take(&mut state.is_outage) {
            info!(address, "reconnected to the broker");
        }
    }

    fn failed(&self, error: &Error) -> Duration {
        let mut state = self.state();
        self.warn(&mut state, error);
        self.wait(&mut state)
    }

    fn warn(&self, state: &mut State, error: &Error) {
        if !std::mem::replace(&mut state.is_outage, true) {
            let address = self.options.address();
            warn!(address, %error, "broker not available; retrying");
        }
    }

    fn wait(&self, state: &mut State) -> Duration {
        // The crate adds jitter on top of its maximum interval.
        let wait = state.backoff.next_backoff().unwrap_or(self.maximum);
        wait.min(self.maximum)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
