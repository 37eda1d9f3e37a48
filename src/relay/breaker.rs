//! Destinations that keep failing, and are set aside for a while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// What is known of a destination that has failed and not worked since.
#[derive(Debug, Clone, Copy)]
enum State {
    /// So many rows have failed in a row.
    Failing(u32),
    /// Its rows wait, until one of them is tried.
    SetAside { until: Instant },
    /// One of its rows is tried.
    Probing,
}

/// A circuit breaker for each destination.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that set a destination aside; 0: none ever.
    failures: u32,
    pause: Duration,
    destinations: HashMap<String, State>,
}

impl Breaker {
    pub(super) fn new(failures: u32, pause: Duration) -> Self {
        Self {
            failures,
            pause,
            destinations: HashMap::new(),
        }
    }

    /// A row has failed by its own fault. Whether its destination is set aside from now on.
    pub(super) fn failed(&mut self, destination: &str) -> bool {
        if self.failures == 0 {
            return false;
        }
        let until = Instant::now() + self.pause;
        let state = self
            .destinations
            .entry(destination.to_owned())
            .or_insert(State::Failing(0));
        match state {
            State::Failing(before) if *before + 1 < self.failures => {
                *before += 1;
                false
            }
            // What was in flight when it was set aside.
            State::SetAside { .. } => false,
            State::Failing(_) | State::Probing => {
                *state = State::SetAside { until };
                true
            }
        }
    }

    /// The broker has taken a row. Whether its destination had been set aside.
    pub(super) fn succeeded(&mut self, destination: &str) -> bool {
        // Most have never failed.
        !self.destinations.is_empty()
            && !matches!(
                self.destinations.remove(destination),
                None | Some(State::Failing(_))
            )
    }

    /// A row was given back without an answer: where it was the probe, there is another one after
    /// a pause.
    pub(super) fn undecided(&mut self, destination: &str, pause: Duration) {
        if let Some(state @ State::Probing) = self.destinations.get_mut(destination) {
            let until = Instant::now() + pause;
            *state = State::SetAside { until };
        }
    }

    pub(super) fn is_set_aside(&self, destination: &str) -> bool {
        let state = self.destinations.get(destination);
        state.is_some_and(|state| !matches!(state, State::Failing(_)))
    }

    /// The destinations whose rows wait.
    pub(super) fn set_aside(&self) -> Vec<String> {
        let destinations = self.destinations.keys();
        destinations
            .filter(|destination| self.is_set_aside(destination))
            .cloned()
            .collect()
    }

    /// A destination that is to be tried now, with one row.
    pub(super) fn probe(&mut self) -> Option<String> {
        let now = Instant::now();
        let due = |state: &State| matches!(state, State::SetAside { until } if *until <= now);
        let (destination, state) = self.destinations.iter_mut().find(|(_, state)| due(state))?;
        *state = State::Probing;
        Some(destination.clone())
    }

    /// When the next one is to be tried.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |state: &State| match state {
            State::SetAside { until } => Some(*until),
            State::Failing(_) | State::Probing => None,
        };
        self.destinations.values().filter_map(until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_set_a_destination_aside_until_a_probe_succeeds() {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!(!breaker.failed("a") && !breaker.failed("a"));
        assert!(!breaker.succeeded("a"), "it was not set aside");
        assert!(!breaker.failed("a") && !breaker.failed("b") && !breaker.failed("a"));
        assert!(breaker.failed("a"));
        assert!(!breaker.failed("a"), "it was in flight");
        assert_eq!(breaker.set_aside(), ["a"]);
        assert_eq!(breaker.probe(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(breaker.probe().as_deref(), Some("a"));
        assert_eq!((breaker.probe(), breaker.next_probe()), (None, None));
        assert!(breaker.is_set_aside("a"), "all but the probe");
        assert!(breaker.failed("a"));
        tokio::time::advance(PAUSE).await;
        assert!(breaker.probe().is_some());
        breaker.undecided("a", Duration::ZERO);
        assert!(breaker.probe().is_some());
        assert!(breaker.succeeded("a"));
        assert!(!breaker.is_set_aside("a") && breaker.set_aside().is_empty());
        assert!(!breaker.failed("a"), "it starts anew");
    }

    #[tokio::test]
    async fn none_is_set_aside_where_that_is_off() {
        let mut breaker = Breaker::new(0, PAUSE);
        assert!((0..100).all(|_| !breaker.failed("a")));
    }
}
