//! Rows that the relay leaves alone for a while: rows that another session has locked, so that they can be
//! neither claimed nor settled, and rows that could not be sent within a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a locked row and the later ones of its key are left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Additional time for each row that is locked.
const FOR_EACH: Duration = Duration::from_millis(1);
/// A row that is locked for this long is logged.
const LONG: Duration = Duration::from_secs(30);
/// A row that was not seen for this long was free in between.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// The longest pause, in leases, of a row that was not sent within one.
const MOST_LEASES: u32 = 10;
/// Settlements that miss a row, which no session has locked, before the row is left alone.
const MISSES: u32 = 3;
/// Rows that are remembered.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Seen {
    key: Option<String>,
    since: Instant,
    /// When to look again.
    again: Instant,
    /// Whether its lock was logged.
    is_logged: bool,
}

/// A row that was not sent before its lease ended.
#[derive(Debug)]
struct Slow {
    key: Option<String>,
    pause: Duration,
    /// When to try it again.
    again: Instant,
}

/// The rows that a relay leaves alone, by their `seq`.
#[derive(Debug, Default)]
pub(super) struct LockedRows {
    rows: BTreeMap<i64, Seen>,
    /// Rows under this relay's lease that no settlement changes, and their keys. They are left alone for good.
    unchanged: BTreeMap<i64, Option<String>>,
    /// How often settlements have missed a row.
    misses: BTreeMap<i64, u32>,
    slow: BTreeMap<i64, Slow>,
}

impl LockedRows {
    /// A row was locked. Returns whether it is left alone from now on: false if there are too many.
    pub(super) fn saw(&mut self, seq: i64, id: &str, key: Option<&str>) -> bool {
        let now = Instant::now();
        let patience = FOR_EACH.saturating_mul(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        if self.rows.len() >= MOST && !self.rows.contains_key(&seq) {
            self.rows.retain(|_, seen| now < seen.again + FORGOTTEN);
            if self.rows.len() >= MOST {
                return false;
            }
        }
        let seen = self.rows.entry(seq).or_insert_with(|| Seen {
            key: key.map(str::to_owned),
            since: now,
            again: now,
            is_logged: false,
        });
        if now >= seen.again + FORGOTTEN {
            (seen.since, seen.is_logged) = (now, false);
        }
        seen.again = now + PAUSE + patience;
        let locked_for = now - seen.since;
        if locked_for >= LONG && !seen.is_logged {
            seen.is_logged = true;
            tracing::warn!(
                id,
                seq,
                locked_for = ?Duration::from_secs(locked_for.as_secs()),
                "another database session keeps this row locked; the row and the later rows of its key wait"
            );
        }
        true
    }

    /// A settlement has missed a row that is under this relay's lease and not locked. Returns whether that
    /// has happened often enough to be certain: a lock may have come and gone in between.
    pub(super) fn missed(&mut self, seq: i64) -> bool {
        let misses = self.misses.entry(seq).or_default();
        *misses += 1;
        let is_certain = *misses >= MISSES;
        if is_certain {
            self.misses.remove(&seq);
        }
        is_certain
    }

    /// A settlement has found a row.
    pub(super) fn settled(&mut self, seq: i64) {
        // Most often there are none.
        if !self.misses.is_empty() {
            self.misses.remove(&seq);
        }
    }

    /// A row is under this relay's lease, and no settlement changes it.
    pub(super) fn lost(&mut self, seq: i64, key: Option<&str>) {
        self.unchanged.insert(seq, key.map(str::to_owned));
    }

    /// A row was not sent before its lease of this length ended. Without a pause it would be claimed first each
    /// time, and no other row would be sent.
    pub(super) fn cut_off(&mut self, seq: i64, key: Option<&str>, lease: Duration) {
        let now = Instant::now();
        let last = self.slow.remove(&seq).map(|slow| slow.pause);
        if self.slow.len() >= MOST {
            self.slow.retain(|_, slow| now < slow.again);
        }
        let pause = last.map_or(lease, |last| last.saturating_mul(2));
        let pause = pause.min(lease.saturating_mul(MOST_LEASES));
        let slow = Slow {
            key: key.map(str::to_owned),
            pause,
            again: now + pause,
        };
        self.slow.insert(seq, slow);
    }

    /// A row was sent.
    pub(super) fn sent(&mut self, seq: i64) {
        // Most often there are none.
        if !self.slow.is_empty() {
            self.slow.remove(&seq);
        }
    }

    /// The rows and the keys to leave alone for now. Both are of one moment: a row that is left alone
    /// without its key does not block the later rows of that key.
    pub(super) fn left_alone(&self) -> (Vec<i64>, Vec<String>) {
        let pausing = self.pausing().map(|(seq, key, _)| (seq, key));
        let unchanged = self.unchanged.iter().map(|(seq, key)| (*seq, key.as_ref()));
        let (rows, keys): (Vec<i64>, Vec<_>) = pausing.chain(unchanged).unzip();
        let mut keys: Vec<String> = keys.into_iter().flatten().cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        (rows, keys)
    }

    /// When to look at one of them again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.pausing().map(|(.., again)| again).min()
    }

    fn pausing(&self) -> impl Iterator<Item = (i64, Option<&String>, Instant)> {
        let now = Instant::now();
        let locked = self.rows.iter();
        let locked = locked.map(|(seq, seen)| (*seq, seen.key.as_ref(), seen.again));
        let slow = self.slow.iter();
        let slow = slow.map(|(seq, slow)| (*seq, slow.key.as_ref(), slow.again));
        let all = locked.chain(slow);
        all.filter(move |(.., again)| now < *again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_row_that_stays_locked_is_logged_once() {
        let lines = outbox_test_support::log::Log::default();
        let _guard = lines.collect(tracing::Level::WARN);
        let mut locked = LockedRows::default();
        let look = |locked: &mut LockedRows| locked.saw(7, "the-id", Some("k"));
        for _ in 0..29 {
            assert!(look(&mut locked));
            assert_eq!(locked.left_alone(), (vec![7], vec!["k".to_owned()]));
            tokio::time::advance(PAUSE).await;
        }
        assert_eq!(lines.count("the-id"), 0);
        for _ in 0..60 {
            tokio::time::advance(PAUSE + FOR_EACH).await;
            assert!(locked.left_alone().0.is_empty(), "it is looked at again");
            look(&mut locked);
        }
        assert_eq!(lines.count("the-id"), 1, "{}", lines.text());
        // It was free for a while.
        tokio::time::advance(FORGOTTEN * 2).await;
        look(&mut locked);
        tokio::time::advance(LONG / 2).await;
        look(&mut locked);
        assert_eq!(lines.count("the-id"), 1);
        tokio::time::advance(LONG / 2).await;
        look(&mut locked);
        assert_eq!(lines.count("the-id"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_was_cut_off_is_left_alone_for_longer_each_time() {
        let lease = Duration::from_secs(4);
        let mut rows = LockedRows::default();
        for leases in [1, 2, 4, 8, 10, 10] {
            rows.cut_off(7, Some("k"), lease);
            assert_eq!(rows.left_alone(), (vec![7], vec!["k".to_owned()]));
            assert_eq!(rows.next_retry(), Some(Instant::now() + lease * leases));
            tokio::time::advance(lease * leases).await;
            assert_eq!(rows.left_alone(), (vec![], vec![]));
        }
        rows.sent(7);
        rows.cut_off(7, None, lease);
        assert_eq!(rows.next_retry(), Some(Instant::now() + lease));
    }

    #[test]
    fn a_row_is_unchanged_when_three_settlements_have_missed_it() {
        let mut rows = LockedRows::default();
        assert!(!rows.missed(7) && !rows.missed(7) && !rows.missed(8));
        rows.settled(8);
        assert!(rows.missed(7));
        assert!(!rows.missed(8) && !rows.missed(8) && rows.missed(8));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_in_mind_than_fit() {
        let mut locked = LockedRows::default();
        let most = i64::try_from(MOST).unwrap();
        assert!((0..most).all(|seq| locked.saw(seq, "", None)));
        assert!(!locked.saw(most, "", None));
        assert!(locked.saw(0, "", None), "it is known");
        tokio::time::advance(FORGOTTEN * 3).await;
        assert!(locked.saw(most, "", None));
        locked.lost(5, Some("k"));
        assert_eq!(locked.left_alone(), (vec![most, 5], vec!["k".to_owned()]));
    }
}
