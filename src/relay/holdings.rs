//! What this relay holds under its leases, until the database knows what became of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::outcomes::Outcomes;
use super::row::Row;

/// A lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// Each claim's own, so that nothing that is told late of a row undoes a later claim of it.
    pub(super) token: Uuid,
    /// The end by our own clock. Claims of one period share it: of two rows of a key the later one
    /// is never sent when the earlier one was held back for its lease.
    pub(super) ends: Instant,
}

/// Claims whose leases end together.
#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    ends: Instant,
}

/// The rows of a key.
#[derive(Debug, Default)]
struct OfKey {
    rows: usize,
    /// Those that were not sent.
    not_sent: usize,
}

/// Rows under leases of ours.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    period: Option<Period>,
    /// How many rows there are under each token, and when its lease ends.
    rows: HashMap<Uuid, (usize, Instant)>,
    keys: HashMap<String, OfKey>,
    /// Keys of which a row was not sent while a claim was made.
    spoiled: HashSet<String>,
    /// Tokens under which there are rows that are not sent: the later ones of their keys wait.
    hiding: HashSet<Uuid>,
    /// Tokens of claims whose answer was lost, and when their leases end at the latest; the
    /// database may have made them all the same.
    doubtful: Vec<(Uuid, Instant)>,
}

impl Holdings {
    /// The lease for the next claim, of which half the time is left at least.
    pub(super) fn lease(&mut self, length: Duration) -> Lease {
        self.spoiled.clear();
        let young = self
            .period
            .filter(|period| period.began.elapsed() < length / 2);
        let period = self.period.insert(young.unwrap_or_else(|| {
            // Read before the first claim, so that it never ends after the database's.
            let began = Instant::now();
            let ends = began + length;
            Period { began, ends }
        }));
        Lease {
            token: Uuid::new_v4(),
            ends: period.ends,
        }
    }

    /// The tokens under which there are rows, of the leases that end with the next claim's.
    pub(super) fn tokens(&self) -> Vec<Uuid> {
        let shared = self.period.map(|period| period.ends);
        let rows = self.rows.iter();
        rows.filter(|(token, (_, ends))| Some(*ends) == shared && !self.hiding.contains(token))
            .map(|(token, _)| *token)
            .collect()
    }

    /// There are rows under the token that are not among those to be sent.
    pub(super) fn hides(&mut self, token: Uuid) {
        self.hiding.insert(token);
    }

    /// The keys of which all that we hold is on its way, so that later rows may follow.
    pub(super) fn own_keys(&self) -> Vec<String> {
        let keys = self.keys.iter();
        keys.filter(|(_, of_key)| of_key.not_sent == 0)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// A row was claimed. Whether it may go: not where an earlier row of its key was not sent in
    /// the meantime.
    pub(super) fn claimed(&mut self, row: &Row) -> bool {
        self.rows.entry(row.token).or_insert((0, row.deadline)).0 += 1;
        let Some(key) = row.key() else { return true };
        self.keys.entry(key.to_owned()).or_default().rows += 1;
        !self.spoiled.contains(key)
    }

    /// A row has failed or is given back: the later ones of its key wait for it.
    pub(super) fn not_sent(&mut self, row: &Row) {
        if let Some(key) = row.key() {
            self.spoiled.insert(key.to_owned());
            if let Some(of_key) = self.keys.get_mut(key) {
                of_key.not_sent += 1;
            }
        }
    }

    /// The database knows what became of these rows.
    pub(super) fn settled(&mut self, outcomes: &Outcomes) {
        for (token, count) in outcomes.leases() {
            if let Some(rows) = self.rows.get_mut(&token) {
                rows.0 = rows.0.saturating_sub(count);
                if rows.0 == 0 {
                    self.rows.remove(&token);
                    self.hiding.remove(&token);
                }
            }
        }
        for (_, key, was_sent) in outcomes.rows() {
            let Some(key) = key else { continue };
            let Some(of_key) = self.keys.get_mut(key) else {
                continue;
            };
            of_key.rows = of_key.rows.saturating_sub(1);
            of_key.not_sent = of_key.not_sent.saturating_sub(usize::from(!was_sent));
            if of_key.rows == 0 {
                self.keys.remove(key);
            }
        }
    }

    /// The answer to a claim was lost, which was for a lease of this length.
    pub(super) fn doubt(&mut self, token: Uuid, length: Duration) {
        self.doubtful.push((token, Instant::now() + length));
    }

    /// Tokens under which there may be rows that we do not know of. Those whose leases have ended
    /// keep nothing from anybody.
    pub(super) fn doubtful(&mut self) -> Vec<Uuid> {
        let now = Instant::now();
        self.doubtful.retain(|(_, ends)| now < *ends);
        self.doubtful.iter().map(|(token, _)| *token).collect()
    }

    /// The database has given back what was under these.
    pub(super) fn given_back(&mut self, tokens: &[Uuid]) {
        self.doubtful.retain(|(token, _)| !tokens.contains(token));
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_key_is_our_own_while_all_of_it_is_on_its_way() {
        let mut holdings = Holdings::default();
        let lease = holdings.lease(MINUTE);
        let of = |seq| Row {
            token: lease.token,
            deadline: lease.ends,
            ..row(seq, Some("k"), "/queue/a")
        };
        assert!(holdings.claimed(&of(1)) && holdings.claimed(&of(2)));
        assert_eq!(holdings.own_keys(), ["k"]);
        assert_eq!(holdings.tokens(), [lease.token]);
        // A row fails while the next claim is made.
        holdings.lease(MINUTE);
        holdings.not_sent(&of(1));
        assert!(holdings.own_keys().is_empty());
        assert!(!holdings.claimed(&of(3)), "it follows the one that failed");
        holdings.not_sent(&of(3));
        let mut outcomes = Outcomes::default();
        outcomes.sent(&of(2));
        outcomes.released(&of(1));
        holdings.settled(&outcomes);
        assert!(holdings.own_keys().is_empty(), "3 was not told yet");
        let mut outcomes = Outcomes::default();
        outcomes.released(&of(3));
        holdings.settled(&outcomes);
        assert!(holdings.tokens().is_empty());
        holdings.lease(MINUTE);
        assert!(holdings.claimed(&of(1)));
        assert_eq!(holdings.own_keys(), ["k"]);
    }

    #[tokio::test]
    async fn what_could_not_be_given_back_holds_up_its_key() {
        let mut holdings = Holdings::default();
        let lease = holdings.lease(MINUTE);
        let sent = Row {
            token: lease.token,
            deadline: lease.ends,
            ..row(1, Some("k"), "/queue/a")
        };
        holdings.hides(lease.token);
        assert!(holdings.claimed(&sent));
        assert!(
            holdings.tokens().is_empty(),
            "a later row of k would pass by"
        );
        let mut outcomes = Outcomes::default();
        outcomes.sent(&sent);
        holdings.settled(&outcomes);
        assert!(holdings.hiding.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubtful_claim_is_forgotten_when_its_lease_has_ended() {
        let mut holdings = Holdings::default();
        let [first, second] = [1, 2].map(Uuid::from_u128);
        holdings.doubt(first, MINUTE);
        tokio::time::advance(MINUTE / 2).await;
        holdings.doubt(second, MINUTE);
        assert_eq!(holdings.doubtful(), [first, second]);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(holdings.doubtful(), [second]);
        holdings.given_back(&[second]);
        assert!(holdings.doubtful().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn claims_share_the_end_of_a_lease_for_half_of_its_length() {
        let mut holdings = Holdings::default();
        let first = holdings.lease(MINUTE);
        assert!(holdings.claimed(&Row {
            token: first.token,
            deadline: first.ends,
            ..row(1, Some("k"), "/queue/a")
        }));
        tokio::time::advance(MINUTE / 3).await;
        let second = holdings.lease(MINUTE);
        assert_eq!(first.ends, second.ends);
        assert_ne!(first.token, second.token);
        assert_eq!(holdings.tokens(), [first.token]);
        tokio::time::advance(MINUTE / 3).await;
        assert_eq!(holdings.lease(MINUTE).ends, Instant::now() + MINUTE);
        assert!(holdings.tokens().is_empty(), "its row ends before the next");
    }
}
