//! A circuit breaker for each destination.
//!
//! Only rows that fail at their first attempt say something about their destination. Rows that have failed
//! before are retried one by one: they neither open a circuit nor keep it open, and while a circuit is
//! open, rows that have not failed are tried first.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::RowKey;

/// The state of a destination that has failed and not worked since.
#[derive(Debug, Clone)]
enum State {
    /// The circuit is closed; these rows have failed.
    Failing(BTreeSet<RowKey>),
    /// The rows wait until some of them are tried.
    Open(Until),
    /// Some rows are tried.
    HalfOpen {
        /// The number of rows whose attempts have not ended.
        rows: usize,
        until: Until,
        /// Whether rows that have failed are tried too.
        takes_failed: bool,
        /// Whether no attempt of these rows has failed or succeeded.
        is_unanswered: bool,
    },
}

/// When rows of a destination with an open circuit are tried.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// Rows that have not failed are tried then.
    fresh: Instant,
    /// Rows that have failed are tried then.
    failed: Instant,
    /// Rows that failed at their first attempt since the last pause.
    tried: usize,
    /// The pause after the last probe, if it found no row.
    idle: Duration,
}

/// The rows of a destination that a claim tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) destination: String,
    /// Whether rows that have failed are tried too, if there are no others.
    pub(super) takes_failed: bool,
}

/// The circuit breakers of all destinations.
#[derive(Debug)]
pub(super) struct CircuitBreakers {
    /// Rows that fail with no success between them before a circuit opens; 0: circuits never open.
    failures: usize,
    pause: Duration,
    destinations: HashMap<String, State>,
}

impl CircuitBreakers {
    pub(super) fn new(failures: usize, pause: Duration) -> Self {
        Self {
            failures,
            pause,
            destinations: HashMap::new(),
        }
    }

    /// How many rows of a destination with an open circuit are tried before the next pause. More than one,
    /// because one row may be the only one that the broker refuses. If the broker closes the connection at
    /// a row, the other rows of a probe are released, and further probes try them.
    pub(super) fn probe_rows(&self) -> usize {
        self.failures
    }

    /// A row has failed, after `before` earlier failures. Returns whether that opens the circuit of its
    /// destination.
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
            // It was in flight when the circuit opened.
            Some(State::Open(until)) => until.learnt(is_fresh, now + self.pause, self.failures),
            Some(State::HalfOpen {
                until,
                is_unanswered,
                ..
            }) => {
                until.learnt(is_fresh, now + self.pause, self.failures);
                *is_unanswered = false;
                return self.ended(destination);
            }
        }
        false
    }

    fn fails(&mut self, destination: &str, rows: BTreeSet<RowKey>) -> bool {
        let opens = rows.len() >= self.failures;
        let state = if opens {
            let now = Instant::now();
            // The broker may refuse just these rows. Others show at once whether it does.
            State::Open(Until {
                fresh: now,
                failed: now + self.pause,
                tried: 0,
                idle: Duration::ZERO,
            })
        } else {
            State::Failing(rows)
        };
        self.destinations.insert(destination.to_owned(), state);
        opens
    }

    /// A row was sent. Returns whether that closes the circuit of its destination.
    pub(super) fn succeeded(&mut self, destination: &str) -> bool {
        // Most have never failed.
        !self.destinations.is_empty()
            && !matches!(
                self.destinations.remove(destination),
                None | Some(State::Failing(_))
            )
    }

    /// A row was released without a result.
    pub(super) fn undecided(&mut self, destination: &str) {
        self.ended(destination);
    }

    /// The attempt of a probe's row has ended. Returns whether the circuit is open again.
    fn ended(&mut self, destination: &str) -> bool {
        let Some(state @ State::HalfOpen { .. }) = self.destinations.get_mut(destination) else {
            return false;
        };
        let State::HalfOpen {
            rows,
            until,
            is_unanswered,
            ..
        } = state
        else {
            return false;
        };
        *rows = rows.saturating_sub(1);
        if *rows > 0 {
            return false;
        }
        let is_decided = !*is_unanswered;
        *state = State::Open(*until);
        is_decided
    }

    /// `count` rows were claimed for a probe. If there are none, the next probe is made after a pause.
    pub(super) fn probing(&mut self, destination: &str, count: usize, pause: Duration) {
        let Some(state) = self.destinations.get_mut(destination) else {
            return;
        };
        if let State::HalfOpen { rows, until, .. } = state {
            if count > 0 {
                *rows = count;
                until.idle = Duration::ZERO;
                return;
            }
            until.fresh = until.fresh.max(Instant::now() + pause);
            *state = State::Open(*until);
        }
    }

    /// A probe found no row. The next one is made after a pause, which doubles each time. If the probe would
    /// have taken any row, the destination has none, and the circuit closes.
    pub(super) fn found_nothing(&mut self, destination: &str, pause: Duration) {
        match self.destinations.get_mut(destination) {
            Some(State::HalfOpen {
                takes_failed: true, ..
            }) => {
                self.destinations.remove(destination);
            }
            Some(State::HalfOpen { until, .. }) => {
                until.idle = until.idle.saturating_mul(2).min(self.pause).max(pause);
                let pause = until.idle;
                self.probing(destination, 0, pause);
            }
            _ => {}
        }
    }

    /// Whether the rows of a destination wait: its circuit is open or half-open.
    pub(super) fn is_waiting(&self, destination: &str) -> bool {
        let state = self.destinations.get(destination);
        state.is_some_and(|state| !matches!(state, State::Failing(_)))
    }

    /// The destinations whose circuit is open or half-open: their rows wait.
    pub(super) fn waiting(&self) -> Vec<String> {
        let destinations = self.destinations.keys();
        destinations
            .filter(|destination| self.is_waiting(destination))
            .cloned()
            .collect()
    }

    /// The destinations whose circuit is open and not half-open: no row is sent, not even as a probe.
    pub(super) fn open(&self) -> Vec<String> {
        let destinations = self.destinations.iter();
        destinations
            .filter(|(_, state)| matches!(state, State::Open(_)))
            .map(|(destination, _)| destination.clone())
            .collect()
    }

    /// Begins the probe of a destination that is due for one.
    pub(super) fn probe(&mut self) -> Option<Probe> {
        let now = Instant::now();
        let due = |state: &State| match state {
            State::Open(until) => (until.fresh <= now).then_some(*until),
            State::Failing(_) | State::HalfOpen { .. } => None,
        };
        let mut destinations = self.destinations.iter_mut();
        let (destination, state, mut until) =
            destinations.find_map(|(it, state)| due(state).map(|until| (it, state, until)))?;
        if until.tried >= self.failures {
            // The pause is over.
            until.tried = 0;
        }
        let takes_failed = until.failed <= now;
        *state = State::HalfOpen {
            rows: 1,
            until,
            takes_failed,
            is_unanswered: true,
        };
        Some(Probe {
            destination: destination.clone(),
            takes_failed,
        })
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |state: &State| match state {
            State::Open(until) => Some(until.fresh),
            State::Failing(_) | State::HalfOpen { .. } => None,
        };
        self.destinations.values().filter_map(until).min()
    }
}

impl Until {
    /// A row has failed. After `enough` first attempts there is a pause until `until`.
    fn learnt(&mut self, is_fresh: bool, until: Instant, enough: usize) {
        self.failed = until;
        if is_fresh {
            self.tried += 1;
            if self.tried >= enough {
                self.fresh = until;
            }
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
        let mut circuits = CircuitBreakers::new(3, PAUSE);
        assert!((0..10).all(|_| !circuits.failed("a", row(1), 0)), "one row");
        assert!(!circuits.failed("a", row(2), 0));
        assert!(!circuits.succeeded("a"), "its circuit was not open");
        assert!(!circuits.failed("a", row(1), 0) && !circuits.failed("b", row(9), 0));
        assert!(!circuits.failed("a", row(2), 0));
        assert!(circuits.failed("a", row(3), 0));
        assert_eq!(circuits.waiting(), ["a"]);
        assert_eq!(circuits.open(), ["a"]);
        assert_eq!(circuits.probe(), probe("a", false), "other rows at once");
        circuits.probing("a", 2, POLL);
        assert_eq!((circuits.probe(), circuits.next_probe()), (None, None));
        assert!(circuits.is_waiting("a"), "all but the probe");
        assert!(circuits.open().is_empty(), "which goes");
        assert!(!circuits.failed("a", row(4), 0), "another one is under way");
        circuits.undecided("a");
        assert!(!circuits.failed("a", row(5), 0), "it was in flight");
        assert_eq!(circuits.probe(), probe("a", false), "one more to try");
        circuits.probing("a", 1, POLL);
        assert!(circuits.failed("a", row(6), 0));
        assert_eq!(circuits.probe(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(circuits.probe(), probe("a", true));
        circuits.probing("a", 1, POLL);
        circuits.undecided("a");
        assert_eq!(circuits.probe(), probe("a", true), "nothing was learnt");
        circuits.probing("a", 0, POLL);
        assert_eq!(circuits.probe(), None, "there was no row");
        tokio::time::advance(POLL).await;
        assert!(circuits.probe().is_some());
        assert!(circuits.succeeded("a"));
        assert!(!circuits.is_waiting("a") && circuits.waiting().is_empty());
        assert!(!circuits.failed("a", row(1), 0), "it starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_failed_before_say_nothing_of_a_destination() {
        let mut circuits = CircuitBreakers::new(3, PAUSE);
        assert!((0..100).all(|n| !circuits.failed("a", row(n), 1)));
        assert!(circuits.waiting().is_empty());
        assert!((0..3).any(|n| circuits.failed("a", row(n), 0)));
        assert_eq!(circuits.probe(), probe("a", false));
        circuits.probing("a", 0, POLL);
        tokio::time::advance(PAUSE).await;
        // All other rows have failed, and they fail again.
        assert_eq!(circuits.probe(), probe("a", true));
        circuits.probing("a", 1, POLL);
        assert!(circuits.failed("a", row(1), 1));
        assert_eq!(circuits.probe(), probe("a", false), "for one that is new");
        circuits.probing("a", 0, POLL);
        assert_eq!(circuits.probe(), None);
        tokio::time::advance(POLL).await;
        assert_eq!(circuits.probe(), probe("a", false));
        circuits.probing("a", 3, POLL);
        assert!((7..10).any(|n| circuits.failed("a", row(n), 0)));
        tokio::time::advance(PAUSE - POLL).await;
        assert_eq!(circuits.probe(), None, "new ones failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_finds_no_row_is_made_less_and_less_often() {
        let mut circuits = CircuitBreakers::new(1, PAUSE);
        assert!(circuits.failed("a", row(1), 0));
        let began = Instant::now();
        let mut pauses = Vec::new();
        while circuits.probe() == probe("a", false) {
            let now = Instant::now();
            circuits.found_nothing("a", POLL);
            let next = circuits.next_probe().unwrap();
            pauses.push((next - now).as_secs());
            tokio::time::advance(next - now).await;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16]);
        assert!(began.elapsed() >= PAUSE);
        // The last one would have taken any row.
        assert!(circuits.is_waiting("a"));
        circuits.found_nothing("a", POLL);
        assert!(!circuits.is_waiting("a"));
        assert_eq!(circuits.next_probe(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_ends_with_the_last_of_its_rows() {
        let mut circuits = CircuitBreakers::new(3, PAUSE);
        assert!((0..3).any(|n| circuits.failed("a", row(n), 0)));
        assert!(circuits.probe().is_some());
        circuits.probing("a", 3, POLL);
        assert!(!circuits.failed("a", row(4), 0) && circuits.open().is_empty());
        assert!(!circuits.failed("a", row(5), 0) && circuits.open().is_empty());
        assert!(circuits.failed("a", row(6), 0));
        assert_eq!(circuits.open(), ["a"]);
    }

    /// As with RabbitMQ: it closes the connection at a row, and the others are released.
    #[tokio::test(start_paused = true)]
    async fn so_many_rows_are_tried_between_two_pauses_however_many_probes_it_takes() {
        const FAILURES: usize = 5;
        let mut circuits = CircuitBreakers::new(FAILURES, PAUSE);
        assert!((0..5).any(|n| circuits.failed("a", row(n), 0)));
        for round in 1..4 {
            let mut tried = 0;
            while circuits.probe().is_some() {
                circuits.probing("a", FAILURES, POLL);
                circuits.failed("a", row(10 * round + tried), 0);
                (1..FAILURES).for_each(|_| circuits.undecided("a"));
                tried += 1;
            }
            assert_eq!(tried, 5, "round {round}");
            tokio::time::advance(PAUSE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_found_a_row_is_made_soon_again() {
        let mut circuits = CircuitBreakers::new(1, PAUSE);
        assert!(circuits.failed("a", row(1), 0));
        for pause in [1, 2, 4] {
            assert!(circuits.probe().is_some());
            circuits.found_nothing("a", POLL);
            tokio::time::advance(Duration::from_secs(pause)).await;
        }
        assert!(circuits.probe().is_some());
        circuits.probing("a", 1, POLL);
        circuits.undecided("a");
        assert!(circuits.probe().is_some());
        circuits.found_nothing("a", POLL);
        assert_eq!(circuits.next_probe(), Some(Instant::now() + POLL));
    }

    #[tokio::test]
    async fn none_opens_if_that_is_off() {
        let mut circuits = CircuitBreakers::new(0, PAUSE);
        assert!((0..100).all(|n| !circuits.failed("a", row(n), 0)));
    }
}
