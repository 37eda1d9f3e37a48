//! When the loop of a relay, a subscriber or an executor last turned.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest time between two turns of a loop that has nothing to do.
pub(crate) const LONGEST_TURN: Duration = Duration::from_secs(10);

/// When a loop last turned; nothing while it does not run.
#[derive(Debug, Default)]
pub(crate) struct LastTurn(Mutex<Option<Instant>>);

impl LastTurn {
    /// The loop turns.
    pub(crate) fn turned(&self) {
        self.set(Some(Instant::now()));
    }

    /// The loop has ended.
    pub(crate) fn ended(&self) {
        self.set(None);
    }

    fn set(&self, turn: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// Whether the loop has turned within this time, or does not run.
    pub(crate) fn is_within(&self, limit: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_noticed() {
        let (turn, limit) = (LastTurn::default(), Duration::from_secs(60));
        assert!(turn.is_within(limit), "it has not started");
        turn.turned();
        tokio::time::advance(limit).await;
        assert!(turn.is_within(limit));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!turn.is_within(limit));
        turn.turned();
        assert!(turn.is_within(limit));
        tokio::time::advance(limit * 2).await;
        turn.ended();
        assert!(turn.is_within(limit), "it has ended");
    }
}
