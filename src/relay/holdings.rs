//! What this relay holds under its leases, until the database knows what became of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::outcomes::Outcomes;
use super::row::Row;

/// A lease: its claims of one period share a token and an end by our own clock.
///
/// Because of the one end, of two rows of a key the later one is never sent when the earlier one
/// was held back for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) token: Uuid,
    /// Read before its first claim, so that it never ends after the database's.
    pub(super) began: Instant,
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
    lease: Option<Lease>,
    rows: HashMap<Uuid, usize>,
    keys: HashMap<String, OfKey>,
    /// Keys of which a row was not sent while a claim was made.
    spoiled: HashSet<String>,
    /// Tokens of claims whose answer was lost; the database may have made them all the same.
    doubtful: Vec<Uuid>,
}

impl Holdings {
    /// The lease for the next claim, of which half the time is left at least.
    pub(super) fn lease(&mut self, length: Duration) -> Lease {
        self.spoiled.clear();
        let young = self
            .lease
            .filter(|lease| lease.began.elapsed() < length / 2);
        *self.lease.insert(young.unwrap_or_else(|| Lease {
            token: Uuid::new_v4(),
            began: Instant::now(),
        }))
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
        *self.rows.entry(row.token).or_default() += 1;
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
                *rows = rows.saturating_sub(count);
                if *rows == 0 {
                    self.rows.remove(&token);
                }
            }
        }
        for (key, was_sent) in outcomes.keys() {
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

    /// The answer to a claim was lost: no other is made under its token.
    pub(super) fn doubt(&mut self, token: Uuid) {
        self.lease = None;
        self.doubtful.push(token);
    }

    /// Tokens under which there is nothing that we know of, so that all that is there may be given
    /// back.
    pub(super) fn nothing_under(&self) -> Vec<Uuid> {
        let tokens = self.doubtful.iter();
        tokens
            .filter(|token| !self.rows.contains_key(token))
            .copied()
            .collect()
    }

    /// The database has given back what was under these.
    pub(super) fn given_back(&mut self, tokens: &[Uuid]) {
        self.doubtful.retain(|token| !tokens.contains(token));
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[tokio::test]
    async fn a_key_is_our_own_while_all_of_it_is_on_its_way() {
        let mut holdings = Holdings::default();
        let minute = Duration::from_secs(60);
        let lease = holdings.lease(minute);
        let of = |seq| Row {
            token: lease.token,
            ..row(seq, Some("k"), "/queue/a")
        };
        assert!(holdings.claimed(&of(1)) && holdings.claimed(&of(2)));
        assert_eq!(holdings.own_keys(), ["k"]);
        assert_eq!(holdings.lease(minute).token, lease.token);
        // A row fails while the next claim is made.
        holdings.not_sent(&of(1));
        assert!(holdings.own_keys().is_empty());
        assert!(!holdings.claimed(&of(3)), "it follows the one that failed");
        holdings.not_sent(&of(3));
        let mut outcomes = Outcomes::default();
        outcomes.sent(&of(2));
        outcomes.released(&of(1));
        outcomes.released(&of(3));
        holdings.doubt(lease.token);
        assert!(holdings.nothing_under().is_empty());
        holdings.settled(&outcomes);
        assert!(holdings.own_keys().is_empty(), "there is nothing of it");
        assert_eq!(holdings.nothing_under(), [lease.token]);
        holdings.given_back(&[lease.token]);
        assert!(holdings.nothing_under().is_empty());
        assert_ne!(holdings.lease(minute).token, lease.token);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_takes_no_claims_when_half_of_it_is_over() {
        let mut holdings = Holdings::default();
        let minute = Duration::from_secs(60);
        let first = holdings.lease(minute);
        tokio::time::advance(minute / 2).await;
        let second = holdings.lease(minute);
        assert_ne!(first.token, second.token);
        assert_eq!(second.began, Instant::now());
    }
}
