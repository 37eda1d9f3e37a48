//! The row at which a claim begins to scan.
//!
//! Each claim scans the rows that are blocked by their key or in a paused stream. If that takes longer than
//! 10 ms, most claims begin where the last one ended, and at most one twentieth of the time is spent on
//! claims that begin at the first row.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Claim;

/// If a claim from the beginning takes longer, the next ones begin further on.
const SLOW: Duration = Duration::from_millis(10);
/// Claims from the beginning may take one part of the time in this many.
const SHARE: u32 = 20;
/// For this time after a slow claim, claims from the beginning look for keys with many blocked rows.
const CROWDED: Duration = Duration::from_secs(60);
/// Rows that are scanned again, because transactions do not commit in the order of `seq`.
const LATE_COMMITS: i64 = 500;

/// What a claim has scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    /// How long it took, if it began at the beginning.
    pub(super) from_the_beginning: Option<Duration>,
    /// The last row that waited when it began, if that was asked for and the claim scanned that far.
    pub(super) last_waiting: Option<i64>,
    /// Its last row, if it returned as many as it could.
    pub(super) last_of_full_claim: Option<i64>,
}

impl Scan {
    /// The scan of a claim of at most `rows` rows. `last_waiting` is ignored if the claim did not get that
    /// far.
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
            last_of_full_claim: last.map(|row| row.seq),
        }
    }
}

/// Where the next claim begins to scan.
#[derive(Debug)]
pub(super) struct ScanPosition {
    from: Option<i64>,
    /// Whether claims from the beginning take long.
    is_slow: bool,
    next_full: Instant,
    /// Whether no claim from the beginning has ended.
    is_new: bool,
    crowded_until: Instant,
}

impl ScanPosition {
    pub(super) fn new() -> Self {
        Self {
            from: None,
            is_slow: false,
            next_full: Instant::now(),
            is_new: true,
            crowded_until: Instant::now(),
        }
    }

    /// Where the next claim begins; `None` for the beginning.
    pub(super) fn from(&self) -> Option<i64> {
        self.from
            .filter(|_| self.is_slow && Instant::now() < self.next_full)
    }

    /// Whether to ask for the last row that waits.
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Whether a claim from the beginning looks for keys with many blocked rows. It costs half a millisecond, so
    /// that only the first claim does without a reason.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_new || Instant::now() < self.crowded_until
    }

    /// When a claim from the beginning is due.
    pub(super) fn next_full(&self) -> Instant {
        self.next_full
    }

    /// Learns from a claim.
    pub(super) fn learn(&mut self, scan: Scan) {
        let until = |seq: i64| seq.saturating_add(1).saturating_sub(LATE_COMMITS);
        if let Some(took) = scan.from_the_beginning {
            self.is_slow = took >= SLOW;
            self.is_new = false;
            if self.is_slow {
                self.crowded_until = Instant::now() + CROWDED;
            }
            self.next_full = Instant::now() + took.saturating_mul(SHARE);
            self.from = scan.last_of_full_claim.or(scan.last_waiting).map(until);
        } else if let Some(last) = scan.last_of_full_claim {
            self.from = self.from.max(Some(until(last)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(took: u64, last_of_full_claim: Option<i64>) -> Scan {
        Scan {
            from_the_beginning: (took > 0).then(|| Duration::from_millis(took)),
            last_waiting: None,
            last_of_full_claim,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_without_room_for_its_rows_skips_none() {
        let slow = Some(Duration::from_millis(50));
        let mut position = ScanPosition::new();
        let of = |found, too_many| Claim {
            found,
            too_many,
            ..Claim::default()
        };
        // There was no room for the first row; then none of as many as it might bring was free.
        for claim in [of(3, 3), of(10, 0)] {
            position.learn(Scan::new(&claim, 10, slow, Some(20_000)));
            assert_eq!(position.from(), None);
        }
        position.learn(Scan::new(&of(3, 0), 10, slow, Some(20_000)));
        assert_eq!(position.from(), Some(19_501), "there was nothing else");
    }

    #[tokio::test(start_paused = true)]
    async fn only_slow_claims_are_cut_short_and_not_for_long() {
        let mut position = ScanPosition::new();
        position.learn(scan(5, Some(10_000)));
        assert_eq!(position.from(), None);
        position.learn(scan(50, Some(10_000)));
        assert_eq!(position.from(), Some(9_501));
        position.learn(scan(0, Some(10_200)));
        assert_eq!(position.from(), Some(9_701));
        position.learn(scan(0, None));
        assert_eq!(position.from(), Some(9_701));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(position.from().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(position.from(), None);
        position.learn(scan(50, None));
        assert_eq!(position.from(), None, "it looked at all there was");
        assert!(position.is_crowded());
        position.learn(Scan {
            last_waiting: Some(20_000),
            ..scan(50, None)
        });
        assert_eq!(position.from(), Some(19_501));
    }

    #[tokio::test(start_paused = true)]
    async fn blocked_keys_are_looked_for_at_first_and_after_a_slow_claim() {
        let mut position = ScanPosition::new();
        assert!(position.is_crowded());
        position.learn(scan(5, Some(10_000)));
        assert!(!position.is_crowded());
        position.learn(scan(50, Some(10_000)));
        // It is quick because the keys were looked for.
        position.learn(scan(5, Some(10_000)));
        tokio::time::advance(CROWDED - SLOW).await;
        assert!(position.is_crowded());
        tokio::time::advance(SLOW).await;
        assert!(!position.is_crowded());
    }
}
