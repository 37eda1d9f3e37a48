//! Destinations that keep failing, and are set aside for a while.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// What is known of a destination that has failed and not worked since.
#[derive(Debug, Clone)]
enum State {
    /// These rows have failed. One row that fails again and again says nothing of the others.
    Failing(BTreeSet<Uuid>),
    /// Its rows wait, until some of them are tried.
    SetAside { until: Instant },
    /// So many of its rows are tried.
    Probing { rows: usize, has_failed: bool },
}

/// A circuit breaker for each destination.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Rows that fail with no success between them, and set a destination aside; 0: none ever.
    failures: usize,
    pause: Duration,
    destinations: HashMap<String, State>,
}

impl Breaker {
    pub(super) fn new(failures: usize, pause: Duration) -> Self {
        Self {
            failures,
            pause,
            destinations: HashMap::new(),
        }
    }

    /// How many rows are tried of a destination that is set aside. Not one alone, which may be the
    /// one that nobody would take.
    pub(super) fn probes(&self) -> usize {
        self.failures
    }

    /// A row has failed by its own fault. Whether its destination is set aside from now on.
    pub(super) fn failed(&mut self, destination: &str, id: Uuid) -> bool {
        if self.failures == 0 {
            return false;
        }
        let state = self
            .destinations
            .entry(destination.to_owned())
            .or_insert_with(|| State::Failing(BTreeSet::new()));
        match state {
            State::Failing(rows) => {
                rows.insert(id);
                if rows.len() < self.failures {
                    return false;
                }
                let until = Instant::now() + self.pause;
                *state = State::SetAside { until };
                true
            }
            // What was in flight when it was set aside.
            State::SetAside { .. } => false,
            State::Probing { has_failed, .. } => {
                *has_failed = true;
                self.ended(destination)
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

    /// A row was given back without an answer.
    pub(super) fn undecided(&mut self, destination: &str) {
        self.ended(destination);
    }

    /// A row of a probe has come to its end. Whether the destination is set aside again.
    fn ended(&mut self, destination: &str) -> bool {
        let Some(state @ State::Probing { .. }) = self.destinations.get_mut(destination) else {
            return false;
        };
        let State::Probing { rows, has_failed } = state else {
            return false;
        };
        *rows = rows.saturating_sub(1);
        if *rows > 0 {
            return false;
        }
        let has_failed = *has_failed;
        let pause = if has_failed {
            self.pause
        } else {
            Duration::ZERO
        };
        let until = Instant::now() + pause;
        *state = State::SetAside { until };
        has_failed
    }

    /// So many rows were claimed for a probe; where there are none, the next one is after a pause.
    pub(super) fn probing(&mut self, destination: &str, count: usize, pause: Duration) {
        if let Some(state @ State::Probing { .. }) = self.destinations.get_mut(destination) {
            *state = if count == 0 {
                let until = Instant::now() + pause;
                State::SetAside { until }
            } else {
                State::Probing {
                    rows: count,
                    has_failed: false,
                }
            };
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

    /// The destinations of which no row may go, not even to try them.
    pub(super) fn shut(&self) -> Vec<String> {
        let destinations = self.destinations.iter();
        destinations
            .filter(|(_, state)| matches!(state, State::SetAside { .. }))
            .map(|(destination, _)| destination.clone())
            .collect()
    }

    /// A destination that is to be tried now.
    pub(super) fn probe(&mut self) -> Option<String> {
        let now = Instant::now();
        let due = |state: &State| matches!(state, State::SetAside { until } if *until <= now);
        let (destination, state) = self.destinations.iter_mut().find(|(_, state)| due(state))?;
        *state = State::Probing {
            rows: 1,
            has_failed: false,
        };
        Some(destination.clone())
    }

    /// When the next one is to be tried.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |state: &State| match state {
            State::SetAside { until } => Some(*until),
            State::Failing(_) | State::Probing { .. } => None,
        };
        self.destinations.values().filter_map(until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[tokio::test(start_paused = true)]
    async fn failing_rows_set_a_destination_aside_until_a_probe_succeeds() {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!((0..10).all(|_| !breaker.failed("a", id(1))), "one row");
        assert!(!breaker.failed("a", id(2)));
        assert!(!breaker.succeeded("a"), "it was not set aside");
        assert!(!breaker.failed("a", id(1)) && !breaker.failed("b", id(9)));
        assert!(!breaker.failed("a", id(2)));
        assert!(breaker.failed("a", id(3)));
        assert!(!breaker.failed("a", id(4)), "it was in flight");
        assert_eq!(breaker.set_aside(), ["a"]);
        assert_eq!(breaker.shut(), ["a"]);
        assert_eq!(breaker.probe(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(breaker.probe().as_deref(), Some("a"));
        breaker.probing("a", 2, PAUSE);
        assert_eq!((breaker.probe(), breaker.next_probe()), (None, None));
        assert!(breaker.is_set_aside("a"), "all but the probe");
        assert!(breaker.shut().is_empty(), "which goes");
        assert!(!breaker.failed("a", id(1)), "another one is under way");
        breaker.undecided("a");
        assert_eq!(breaker.probe(), None);
        tokio::time::advance(PAUSE).await;
        assert!(breaker.probe().is_some());
        breaker.probing("a", 1, PAUSE);
        breaker.undecided("a");
        assert!(breaker.probe().is_some(), "nothing was learnt");
        breaker.probing("a", 0, PAUSE);
        assert_eq!(breaker.probe(), None, "there was no row");
        tokio::time::advance(PAUSE).await;
        assert!(breaker.probe().is_some());
        assert!(breaker.succeeded("a"));
        assert!(!breaker.is_set_aside("a") && breaker.set_aside().is_empty());
        assert!(!breaker.failed("a", id(1)), "it starts anew");
    }

    #[tokio::test]
    async fn none_is_set_aside_where_that_is_off() {
        let mut breaker = Breaker::new(0, PAUSE);
        assert!((0..100).all(|n| !breaker.failed("a", id(n))));
    }
}
