//! Rows to leave alone: those that another session has locked, and that nobody can claim or settle
//! meanwhile, and those that could not be written within a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a locked row is left alone, and the later ones of its key, before the next look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// And so much longer for each row that is locked.
const FOR_EACH: Duration = Duration::from_millis(1);
/// A row that is locked for so long is worth a line in the log.
const LONG: Duration = Duration::from_secs(30);
/// A row that was not seen for so long was not locked all the time.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// The longest pause, in leases, before a row is tried again that was not written within one.
const MOST_LEASES: u32 = 10;
/// Rows that are kept in mind.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Seen {
    key: Option<String>,
    since: Instant,
    /// When to look again.
    again: Instant,
    /// Whether its lock was logged.
    is_told: bool,
}

/// A row that was not written before its lease ended.
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
    /// Rows under our lease whose outcome the database does not take, and their keys: never again.
    astray: BTreeMap<i64, Option<String>>,
    slow: BTreeMap<i64, Slow>,
}

impl LockedRows {
    /// A row was locked. Whether it is left alone from now on: false if there are too many.
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
            is_told: false,
        });
        if now >= seen.again + FORGOTTEN {
            (seen.since, seen.is_told) = (now, false);
        }
        seen.again = now + LOOK_AGAIN + patience;
        let locked_for = now - seen.since;
        if locked_for >= LONG && !seen.is_told {
            seen.is_told = true;
            tracing::warn!(
                id,
                seq,
                locked_for = ?Duration::from_secs(locked_for.as_secs()),
                "another database session keeps this row locked; it waits, and so do the later rows of its key"
            );
        }
        true
    }

    /// A row is under our lease, and the database does not take what became of it.
    pub(super) fn lost(&mut self, seq: i64, key: Option<&str>) {
        self.astray.insert(seq, key.map(str::to_owned));
    }

    /// A row was not written before its lease ended, which was so long. It would be claimed first
    /// for ever, and nothing would go beside it.
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

    /// The rows to leave alone for now.
    pub(super) fn rows(&self) -> Vec<i64> {
        let rows = self.left_alone().map(|(seq, ..)| seq);
        rows.chain(self.astray.keys().copied()).collect()
    }

    /// The keys to leave alone for now.
    pub(super) fn keys(&self) -> Vec<String> {
        let keys = self.left_alone().filter_map(|(_, key, _)| key.cloned());
        let mut keys: Vec<String> = keys
            .chain(self.astray.values().flatten().cloned())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// When to look at one of them again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.left_alone().map(|(.., again)| again).min()
    }

    fn left_alone(&self) -> impl Iterator<Item = (i64, Option<&String>, Instant)> {
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
#[path = "../../tests/support/log.rs"]
#[allow(clippy::unwrap_used)]
mod log;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_row_that_stays_locked_is_logged_once() {
        let lines = super::log::Log::default();
        let _guard = lines.collect(tracing::Level::WARN);
        let mut locked = LockedRows::default();
        let look = |locked: &mut LockedRows| locked.saw(7, "the-id", Some("k"));
        for _ in 0..29 {
            assert!(look(&mut locked));
            assert_eq!(
                (locked.rows(), locked.keys()),
                (vec![7], vec!["k".to_owned()])
            );
            tokio::time::advance(LOOK_AGAIN).await;
        }
        assert_eq!(lines.count("the-id"), 0);
        for _ in 0..60 {
            tokio::time::advance(LOOK_AGAIN + FOR_EACH).await;
            assert!(locked.rows().is_empty(), "it is looked at again");
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
            assert_eq!((rows.rows(), rows.keys()), (vec![7], vec!["k".to_owned()]));
            assert_eq!(rows.next_look(), Some(Instant::now() + lease * leases));
            tokio::time::advance(lease * leases).await;
            assert!(rows.rows().is_empty() && rows.keys().is_empty());
        }
        rows.sent(7);
        rows.cut_off(7, None, lease);
        assert_eq!(rows.next_look(), Some(Instant::now() + lease));
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
        assert_eq!(locked.rows(), [most, 5]);
        assert_eq!(locked.keys(), ["k"]);
    }
}
