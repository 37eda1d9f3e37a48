//! Destinations that keep failing, and are set aside for a while.
//!
//! A destination is known by rows that fail at their first attempt. Those that have failed before
//! are blamed one by one, and say nothing of the others: they neither set a destination aside nor
//! keep it there, and while its circuit is open, rows that have not failed are tried first.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::RowKey;

/// What is known of a destination that has failed and not worked since.
#[derive(Debug, Clone)]
enum State {
    /// These rows have failed.
    Failing(BTreeSet<RowKey>),
    /// Its rows wait, until some of them are tried.
    SetAside(Until),
    /// So many of its rows are tried.
    Probing {
        rows: usize,
        until: Until,
        /// Whether rows that have failed are tried too.
        takes_failed: bool,
        /// Whether none of the rows had an answer, so that nothing was learnt.
        is_open: bool,
    },
}

/// When rows of a destination with an open circuit are tried.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// Rows that have not failed.
    fresh: Instant,
    /// Rows that have.
    failed: Instant,
    /// The pause after the last probe, if it found no row.
    idle: Duration,
}

/// Which rows of a destination are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) destination: String,
    /// Whether rows that have failed are tried too, if there are no others.
    pub(super) takes_failed: bool,
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

    /// A row has failed by its own fault, having failed so often before. Whether its destination
    /// has an open circuit from now on.
    pub(super) fn failed(&mut self, destination: &str, row: RowKey, before: i32) -> bool {
        if self.failures == 0 {
            return false;
        }
        let is_fresh = before <= 0;
        let now = Instant::now();
        match self.destinations.get_mut(destination) {
            None if is_fresh => {
                let rows = BTreeSet::from([row]);
                return self.fails(destination, rows);
            }
            Some(State::Failing(rows)) if is_fresh => {
                rows.insert(row);
                let rows = std::mem::take(rows);
                return self.fails(destination, rows);
            }
            None | Some(State::Failing(_)) => {}
            // What was in flight when it was set aside.
            Some(State::SetAside(until)) => until.learnt(is_fresh, now + self.pause),
            Some(State::Probing { until, is_open, .. }) => {
                until.learnt(is_fresh, now + self.pause);
                *is_open = false;
                return self.ended(destination);
            }
        }
        false
    }

    fn fails(&mut self, destination: &str, rows: BTreeSet<RowKey>) -> bool {
        let is_set_aside = rows.len() >= self.failures;
        let state = if is_set_aside {
            let now = Instant::now();
            // They may be rows that nobody would take. Others show at once whether it is that.
            State::SetAside(Until {
                fresh: now,
                failed: now + self.pause,
                idle: Duration::ZERO,
            })
        } else {
            State::Failing(rows)
        };
        self.destinations.insert(destination.to_owned(), state);
        is_set_aside
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
        let State::Probing {
            rows,
            until,
            is_open,
            ..
        } = state
        else {
            return false;
        };
        *rows = rows.saturating_sub(1);
        if *rows > 0 {
            return false;
        }
        let is_decided = !*is_open;
        *state = State::SetAside(*until);
        is_decided
    }

    /// So many rows were claimed for a probe; if there are none that may go now, the next one is
    /// after a pause.
    pub(super) fn probing(&mut self, destination: &str, count: usize, pause: Duration) {
        let Some(state) = self.destinations.get_mut(destination) else {
            return;
        };
        if let State::Probing { rows, until, .. } = state {
            if count > 0 {
                *rows = count;
                until.idle = Duration::ZERO;
                return;
            }
            until.fresh = until.fresh.max(Instant::now() + pause);
            *state = State::SetAside(*until);
        }
    }

    /// There is no row for a probe. The next one is after a pause, which is twice as long each
    /// time; or never, if it would have taken any row of its destination.
    pub(super) fn found_nothing(&mut self, destination: &str, pause: Duration) {
        match self.destinations.get_mut(destination) {
            Some(State::Probing {
                takes_failed: true, ..
            }) => {
                self.destinations.remove(destination);
            }
            Some(State::Probing { until, .. }) => {
                until.idle = until.idle.saturating_mul(2).min(self.pause).max(pause);
                let pause = until.idle;
                self.probing(destination, 0, pause);
            }
            _ => {}
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
            .filter(|(_, state)| matches!(state, State::SetAside(_)))
            .map(|(destination, _)| destination.clone())
            .collect()
    }

    /// A destination that is to be tried now.
    pub(super) fn probe(&mut self) -> Option<Probe> {
        let now = Instant::now();
        let due = |state: &State| match state {
            State::SetAside(until) => (until.fresh <= now).then_some(*until),
            State::Failing(_) | State::Probing { .. } => None,
        };
        let mut destinations = self.destinations.iter_mut();
        let (destination, state, until) =
            destinations.find_map(|(it, state)| due(state).map(|until| (it, state, until)))?;
        let takes_failed = until.failed <= now;
        *state = State::Probing {
            rows: 1,
            until,
            takes_failed,
            is_open: true,
        };
        Some(Probe {
            destination: destination.clone(),
            takes_failed,
        })
    }

    /// When the next one is to be tried.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |state: &State| match state {
            State::SetAside(until) => Some(until.fresh),
            State::Failing(_) | State::Probing { .. } => None,
        };
        self.destinations.values().filter_map(until).min()
    }
}

impl Until {
    /// A row has failed.
    fn learnt(&mut self, is_fresh: bool, until: Instant) {
        self.failed = until;
        if is_fresh {
            self.fresh = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);
    const POLL: Duration = Duration::from_secs(1);

    fn row(seq: i64) -> RowKey {
        RowKey {
            seq,
            id: uuid::Uuid::nil(),
        }
    }

    fn probe(destination: &str, takes_failed: bool) -> Option<Probe> {
        Some(Probe {
            destination: destination.to_owned(),
            takes_failed,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn failing_rows_set_a_destination_aside_until_a_probe_succeeds() {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!((0..10).all(|_| !breaker.failed("a", row(1), 0)), "one row");
        assert!(!breaker.failed("a", row(2), 0));
        assert!(!breaker.succeeded("a"), "it was not set aside");
        assert!(!breaker.failed("a", row(1), 0) && !breaker.failed("b", row(9), 0));
        assert!(!breaker.failed("a", row(2), 0));
        assert!(breaker.failed("a", row(3), 0));
        assert_eq!(breaker.set_aside(), ["a"]);
        assert_eq!(breaker.shut(), ["a"]);
        assert_eq!(breaker.probe(), probe("a", false), "other rows at once");
        breaker.probing("a", 2, POLL);
        assert_eq!((breaker.probe(), breaker.next_probe()), (None, None));
        assert!(breaker.is_set_aside("a"), "all but the probe");
        assert!(breaker.shut().is_empty(), "which goes");
        assert!(!breaker.failed("a", row(4), 0), "another one is under way");
        breaker.undecided("a");
        assert_eq!(breaker.probe(), None);
        assert!(!breaker.failed("a", row(5), 0), "it was in flight");
        tokio::time::advance(PAUSE).await;
        assert_eq!(breaker.probe(), probe("a", true));
        breaker.probing("a", 1, POLL);
        breaker.undecided("a");
        assert_eq!(breaker.probe(), probe("a", true), "nothing was learnt");
        breaker.probing("a", 0, POLL);
        assert_eq!(breaker.probe(), None, "there was no row");
        tokio::time::advance(POLL).await;
        assert!(breaker.probe().is_some());
        assert!(breaker.succeeded("a"));
        assert!(!breaker.is_set_aside("a") && breaker.set_aside().is_empty());
        assert!(!breaker.failed("a", row(1), 0), "it starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_failed_before_say_nothing_of_a_destination() {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!((0..100).all(|n| !breaker.failed("a", row(n), 1)));
        assert!(breaker.set_aside().is_empty());
        assert!((0..3).any(|n| breaker.failed("a", row(n), 0)));
        assert_eq!(breaker.probe(), probe("a", false));
        breaker.probing("a", 0, POLL);
        tokio::time::advance(PAUSE).await;
        // There are none but those that have failed, and they fail again.
        assert_eq!(breaker.probe(), probe("a", true));
        breaker.probing("a", 1, POLL);
        assert!(breaker.failed("a", row(1), 1));
        assert_eq!(breaker.probe(), probe("a", false), "for one that is new");
        breaker.probing("a", 0, POLL);
        assert_eq!(breaker.probe(), None);
        tokio::time::advance(POLL).await;
        assert_eq!(breaker.probe(), probe("a", false));
        breaker.probing("a", 1, POLL);
        assert!(breaker.failed("a", row(7), 0));
        tokio::time::advance(PAUSE - POLL).await;
        assert_eq!(breaker.probe(), None, "a new one failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_finds_no_row_is_made_less_and_less_often() {
        let mut breaker = Breaker::new(1, PAUSE);
        assert!(breaker.failed("a", row(1), 0));
        let began = Instant::now();
        let mut pauses = Vec::new();
        while breaker.probe() == probe("a", false) {
            let now = Instant::now();
            breaker.found_nothing("a", POLL);
            let next = breaker.next_probe().unwrap();
            pauses.push((next - now).as_secs());
            tokio::time::advance(next - now).await;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16]);
        assert!(began.elapsed() >= PAUSE);
        // The last one would have taken any row.
        assert!(breaker.is_set_aside("a"));
        breaker.found_nothing("a", POLL);
        assert!(!breaker.is_set_aside("a"));
        assert_eq!(breaker.next_probe(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_ends_with_the_last_of_its_rows() {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!((0..3).any(|n| breaker.failed("a", row(n), 0)));
        assert!(breaker.probe().is_some());
        breaker.probing("a", 3, POLL);
        assert!(!breaker.failed("a", row(4), 0) && breaker.shut().is_empty());
        assert!(!breaker.failed("a", row(5), 0) && breaker.shut().is_empty());
        assert!(breaker.failed("a", row(6), 0));
        assert_eq!(breaker.shut(), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_found_a_row_is_made_soon_again() {
        let mut breaker = Breaker::new(1, PAUSE);
        assert!(breaker.failed("a", row(1), 0));
        for pause in [1, 2, 4] {
            assert!(breaker.probe().is_some());
            breaker.found_nothing("a", POLL);
            tokio::time::advance(Duration::from_secs(pause)).await;
        }
        assert!(breaker.probe().is_some());
        breaker.probing("a", 1, POLL);
        breaker.undecided("a");
        assert!(breaker.probe().is_some());
        breaker.found_nothing("a", POLL);
        assert_eq!(breaker.next_probe(), Some(Instant::now() + POLL));
    }

    #[tokio::test]
    async fn none_is_set_aside_if_that_is_off() {
        let mut breaker = Breaker::new(0, PAUSE);
        assert!((0..100).all(|n| !breaker.failed("a", row(n), 0)));
    }
}
