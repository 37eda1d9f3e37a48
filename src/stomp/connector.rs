//! Trying again until there is a connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::client::{Client, Ended};
use super::error::Error;
use super::options::Options;

/// The first wait, unless the longest is shorter.
const FIRST: Duration = Duration::from_millis(500);
/// The shortest that the longest wait can be.
const LEAST: Duration = Duration::from_millis(10);
/// A connection that lived for so long has ended an outage; one that died before is part of it.
const STABLE: Duration = Duration::from_secs(10);

/// Connects, and connects again, with exponential backoff and jitter.
///
/// It lives as long as the process, and remembers: a connection that is made and dies at once does
/// not begin a new row of quick attempts.
#[derive(Debug)]
pub struct Connector {
    options: Options,
    maximum: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backoff: ExponentialBackoff,
    /// An outage was warned of, and its end was not told.
    is_outage: bool,
    /// Connections die young: their ups and downs are not worth a line each.
    is_flapping: bool,
    /// The connection made last, and when.
    last: Option<(Instant, Ended)>,
}

impl Connector {
    /// A connector that waits between attempts for about 0.5 s at first, then twice as long each
    /// time, never longer than `maximum_backoff`. Each wait is up to a half shorter or longer.
    #[must_use]
    pub fn new(options: Options, maximum_backoff: Duration) -> Self {
        let maximum = maximum_backoff.max(LEAST);
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST.min(maximum))
            .with_max_interval(maximum)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            // Its default gives up after a quarter of an hour.
            .with_max_elapsed_time(None)
            .build();
        Self {
            options,
            maximum,
            state: Mutex::new(State {
                backoff,
                is_outage: false,
                is_flapping: false,
                last: None,
            }),
        }
    }

    /// Makes one attempt, which counts for nothing else.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub async fn once(&self) -> Result<Client, Error> {
        Client::connect(&self.options).await
    }

    /// Notes that the broker does well, whatever became of our connections: the next attempt is
    /// made at once.
    pub fn is_well(&self) {
        let mut state = self.state();
        state.backoff.reset();
        state.is_flapping = false;
        state.last = None;
    }

    /// Tries until there is a connection. An outage is one `warn` in the log when it begins and
    /// one `info` when it is over. While the connection made last lives, or was closed by us, the
    /// first attempt is made at once; where it died within 10 s, after a wait. Safe to cancel.
    ///
    /// # Errors
    ///
    /// The error for which `give_up` says so; it is not in the log.
    pub async fn connect(&self, give_up: impl Fn(&Error) -> bool) -> Result<Client, Error> {
        if let Some(wait) = self.look_back() {
            debug!(?wait, "waiting before connecting to the broker again");
            sleep(wait).await;
        }
        loop {
            let error = match Client::connect(&self.options).await {
                Ok(client) => {
                    self.succeeded(&client);
                    return Ok(client);
                }
                Err(error) if give_up(&error) => return Err(error),
                Err(error) => error,
            };
            let wait = self.failed(&error);
            debug!(%error, ?wait, "no connection to the broker, trying again");
            sleep(wait).await;
        }
    }

    /// What became of the connection made last, and how long to wait for that.
    fn look_back(&self) -> Option<Duration> {
        let mut state = self.state();
        let (since, ended) = state.last.as_ref()?;
        let (age, ended) = (since.elapsed(), ended.get());
        if age >= STABLE {
            state.backoff.reset();
            state.is_flapping = false;
        }
        let error = ended?;
        state.last = None;
        if error.is_closed_by_us() {
            return None;
        }
        self.warn(&mut state, &error);
        if age >= STABLE {
            return None;
        }
        state.is_flapping = true;
        Some(self.wait(&mut state))
    }

    fn succeeded(&self, client: &Client) {
        let mut state = self.state();
        state.last = Some((Instant::now(), client.ended()));
        let address = self.options.address();
        if state.is_flapping {
            debug!(address, "connected to the broker again");
        } else if std::mem::take(&mut state.is_outage) {
            info!(address, "connected to the broker again");
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
            warn!(address, %error, "the broker is away");
        }
    }

    fn wait(&self, state: &mut State) -> Duration {
        // Jitter comes on top of the crate's longest interval.
        let wait = state.backoff.next_backoff().unwrap_or(self.maximum);
        wait.min(self.maximum)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
