//! Where a claim begins to look.
//!
//! Rows that wait behind a blocked key, or in a paused stream, are looked at by each claim anew.
//! Where there are so many of them that this takes long, most claims begin where the last one
//! ended, and only now and then one begins at the beginning.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Claim;

/// What a claim from the beginning may take before the next ones begin further on.
const SLOW: Duration = Duration::from_millis(20);
/// The part of the time, one in so many, that claims from the beginning may take.
const SHARE: u32 = 20;
/// Transactions commit in another order than they were numbered: so many rows are looked at again.
const STRAGGLERS: i64 = 500;

/// What came of a claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// How long it took, where it began at the beginning.
    pub(super) from_the_beginning: Option<Duration>,
    /// The last row that waited when it began, where it was asked for, and if it looked so far.
    pub(super) last_waiting: Option<i64>,
    /// The last row of it where it brought as many as it might.
    pub(super) last_of_a_full_one: Option<i64>,
}

impl Look {
    /// What came of a claim of so many rows at most. What waited when it began is of no use if it
    /// did not get so far.
    pub(super) fn new(
        claim: &Claim,
        rows: usize,
        from_the_beginning: Option<Duration>,
        last_waiting: Option<i64>,
    ) -> Self {
        let is_full = claim.found >= rows || claim.too_many > 0;
        let last = claim.rows.last().filter(|_| is_full);
        Self {
            from_the_beginning,
            last_waiting: last_waiting.filter(|_| !is_full),
            last_of_a_full_one: last.map(|row| row.seq),
        }
    }
}

/// Where the next claim begins.
#[derive(Debug)]
pub(super) struct Reach {
    from: Option<i64>,
    /// Whether claims from the beginning take long.
    is_slow: bool,
    next_full: Instant,
}

impl Reach {
    pub(super) fn new() -> Self {
        Self {
            from: None,
            is_slow: false,
            next_full: Instant::now(),
        }
    }

    /// Where the next claim begins; `None` for the beginning.
    pub(super) fn from(&self) -> Option<i64> {
        self.from
            .filter(|_| self.is_slow && Instant::now() < self.next_full)
    }

    /// Whether the last row that waits is worth asking for.
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// When a claim from the beginning is due.
    pub(super) fn next_full(&self) -> Instant {
        self.next_full
    }

    /// Learns from a claim.
    pub(super) fn looked(&mut self, look: Look) {
        let until = |seq: i64| seq.saturating_add(1).saturating_sub(STRAGGLERS);
        if let Some(took) = look.from_the_beginning {
            self.is_slow = took >= SLOW;
            self.next_full = Instant::now() + took.saturating_mul(SHARE);
            self.from = look.last_of_a_full_one.or(look.last_waiting).map(until);
        } else if let Some(last) = look.last_of_a_full_one {
            self.from = self.from.max(Some(until(last)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(took: u64, last_of_a_full_one: Option<i64>) -> Look {
        Look {
            from_the_beginning: (took > 0).then(|| Duration::from_millis(took)),
            last_waiting: None,
            last_of_a_full_one,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_without_room_for_its_rows_skips_none() {
        let slow = Some(Duration::from_millis(50));
        let mut reach = Reach::new();
        let of = |found, too_many| Claim {
            found,
            too_many,
            ..Claim::default()
        };
        // There was no room for the first row; then none of as many as it might bring was free.
        for claim in [of(3, 3), of(10, 0)] {
            reach.looked(Look::new(&claim, 10, slow, Some(20_000)));
            assert_eq!(reach.from(), None);
        }
        reach.looked(Look::new(&of(3, 0), 10, slow, Some(20_000)));
        assert_eq!(reach.from(), Some(19_501), "there was nothing else");
    }

    #[tokio::test(start_paused = true)]
    async fn only_slow_claims_are_cut_short_and_not_for_long() {
        let mut reach = Reach::new();
        reach.looked(look(5, Some(10_000)));
        assert_eq!(reach.from(), None);
        reach.looked(look(50, Some(10_000)));
        assert_eq!(reach.from(), Some(9_501));
        reach.looked(look(0, Some(10_200)));
        assert_eq!(reach.from(), Some(9_701));
        reach.looked(look(0, None));
        assert_eq!(reach.from(), Some(9_701));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(reach.from().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(reach.from(), None);
        reach.looked(look(50, None));
        assert_eq!(reach.from(), None, "it looked at all there was");
        reach.looked(Look {
            last_waiting: Some(20_000),
            ..look(50, None)
        });
        assert_eq!(reach.from(), Some(19_501));
    }
}
