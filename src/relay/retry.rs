//! How long a row waits after a failure of its own.

use std::time::Duration;

use rand::Rng;

use crate::backend::Verdict;

/// The retry rule: exponential pauses with jitter, and an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryRule {
    pub(super) attempts: u32,
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl RetryRule {
    /// What becomes of a row that had failed `before` times and has failed once more.
    pub(super) fn verdict(&self, before: i32) -> Verdict {
        let before = u32::try_from(before).unwrap_or(0);
        if before.saturating_add(1) >= self.attempts {
            return Verdict::Park;
        }
        Verdict::Retry(
            self.pause(before)
                .mul_f64(rand::rng().random_range(0.8..=1.2)),
        )
    }

    fn pause(&self, before: u32) -> Duration {
        let doubled = 2_u32.checked_pow(before).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_then_the_row_is_parked() {
        let rule = RetryRule {
            attempts: 50,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        };
        let pauses: Vec<u64> = (0..8).map(|before| rule.pause(before).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(rule.pause(4_000_000_000).as_secs(), 60);
        let Verdict::Retry(pause) = rule.verdict(3) else {
            panic!("parked too early")
        };
        assert!((6.4..=9.6).contains(&pause.as_secs_f64()), "{pause:?}");
        assert!(matches!(rule.verdict(48), Verdict::Retry(_)));
        assert_eq!(rule.verdict(49), Verdict::Park);
    }
}
