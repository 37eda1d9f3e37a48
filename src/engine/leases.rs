//! The leases of this relay, and the rows under them that are not settled.
//!
//! A lease is not extended: an attempt ends with it. For a delivery that outlasts a lease, such as a function
//! call, a renewal belongs here: a new end for the rows of a token, written to the database first.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::outcomes::Outcomes;
use super::row::Row;
use crate::backend::lease_token::Holder;
use crate::runtime::lease_clock;

/// A lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    /// A new one for each claim, so that a late settlement does not undo a later claim of the row.
    pub(crate) token: Uuid,
    /// The end by [`lease_clock`]. Claims of one period share it, so that a row is never sent after an earlier
    /// one of its key was not sent because of its lease.
    pub(crate) ends: Instant,
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
    /// The rows that were not sent.
    not_sent: usize,
}

/// The leases of this relay.
#[derive(Debug, Default)]
pub(super) struct Leases {
    holder: Holder,
    period: Option<Period>,
    /// For each token the number of rows and the end of the lease.
    rows: HashMap<Uuid, (usize, Instant)>,
    keys: HashMap<String, OfKey>,
    /// Keys of which a row was not sent since the running claim began.
    interrupted_keys: HashSet<String>,
    /// Tokens that lease more rows than the claim returned. These rows are not sent and block their keys.
    incomplete: HashSet<Uuid>,
    /// Tokens of claims whose answer was lost, with the latest end of their leases. The database may have
    /// made these claims.
    in_doubt: Vec<(Uuid, Instant)>,
}

impl Leases {
    /// The name by which `outbox status` shows these leases.
    pub(super) fn holder(&self) -> Holder {
        self.holder
    }

    /// The lease for the next claim. At least half of its time is left.
    pub(super) fn begin(&mut self, length: Duration) -> Lease {
        self.interrupted_keys.clear();
        let young = self
            .period
            .filter(|period| lease_clock::now() - period.began < length / 2);
        let period = self.period.insert(young.unwrap_or_else(|| {
            // Read before the first claim, so that it never ends later than in the database.
            let began = lease_clock::now();
            let ends = began + length;
            Period { began, ends }
        }));
        Lease {
            token: self.holder.token(),
            ends: period.ends,
        }
    }

    /// The tokens with rows whose leases end with that of the next claim.
    pub(super) fn tokens(&self) -> Vec<Uuid> {
        let shared = self.period.map(|period| period.ends);
        let rows = self.rows.iter();
        rows.filter(|(token, (_, ends))| Some(*ends) == shared && !self.incomplete.contains(token))
            .map(|(token, _)| *token)
            .collect()
    }

    /// The token leases more rows than the claim returned.
    pub(super) fn mark_incomplete(&mut self, token: Uuid) {
        self.incomplete.insert(token);
    }

    /// The keys whose leased rows are all sent or going to be sent, so that later rows may follow.
    pub(super) fn own_keys(&self) -> Vec<String> {
        let keys = self.keys.iter();
        keys.filter(|(_, of_key)| of_key.not_sent == 0)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// A row was claimed. Returns whether it may be sent: not if an earlier row of its key was not sent
    /// while the claim was made.
    pub(super) fn claimed(&mut self, row: &Row) -> bool {
        self.rows.entry(row.token).or_insert((0, row.deadline)).0 += 1;
        let Some(key) = row.key() else { return true };
        self.keys.entry(key.to_owned()).or_default().rows += 1;
        !self.interrupted_keys.contains(key)
    }

    /// A row has failed or is released: it blocks the later ones of its key.
    pub(super) fn not_sent(&mut self, row: &Row) {
        if let Some(key) = row.key() {
            self.interrupted_keys.insert(key.to_owned());
            if let Some(of_key) = self.keys.get_mut(key) {
                of_key.not_sent += 1;
            }
        }
    }

    /// The database has these outcomes.
    pub(super) fn settled(&mut self, outcomes: &Outcomes) {
        for (token, count) in outcomes.leases() {
            if let Some(rows) = self.rows.get_mut(&token) {
                rows.0 = rows.0.saturating_sub(count);
                if rows.0 == 0 {
                    self.rows.remove(&token);
                    self.incomplete.remove(&token);
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

    /// The answer to a claim was lost; its lease has this length.
    pub(super) fn add_in_doubt(&mut self, token: Uuid, length: Duration) {
        self.in_doubt.push((token, lease_clock::now() + length));
    }

    /// The tokens of claims whose answer was lost and whose leases have not ended.
    pub(super) fn in_doubt(&mut self) -> Vec<Uuid> {
        let now = lease_clock::now();
        self.in_doubt.retain(|(_, ends)| now < *ends);
        self.in_doubt.iter().map(|(token, _)| *token).collect()
    }

    /// The database has released the rows of these tokens.
    pub(super) fn released(&mut self, tokens: &[Uuid]) {
        self.in_doubt.retain(|(token, _)| !tokens.contains(token));
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_key_is_our_own_while_all_of_it_is_on_its_way() {
        let mut leases = Leases::default();
        let lease = leases.begin(MINUTE);
        let of = |seq| Row {
            token: lease.token,
            deadline: lease.ends,
            ..row(seq, Some("k"), "/queue/a")
        };
        assert!(leases.claimed(&of(1)) && leases.claimed(&of(2)));
        assert_eq!(leases.own_keys(), ["k"]);
        assert_eq!(leases.tokens(), [lease.token]);
        // A row fails while the next claim is made.
        leases.begin(MINUTE);
        leases.not_sent(&of(1));
        assert!(leases.own_keys().is_empty());
        assert!(!leases.claimed(&of(3)), "it follows the one that failed");
        leases.not_sent(&of(3));
        let mut outcomes = Outcomes::default();
        outcomes.sent(&of(2));
        outcomes.released(&of(1));
        leases.settled(&outcomes);
        assert!(leases.own_keys().is_empty(), "3 is not in the database yet");
        let mut outcomes = Outcomes::default();
        outcomes.released(&of(3));
        leases.settled(&outcomes);
        assert!(leases.tokens().is_empty());
        leases.begin(MINUTE);
        assert!(leases.claimed(&of(1)));
        assert_eq!(leases.own_keys(), ["k"]);
    }

    #[tokio::test]
    async fn what_could_not_be_given_back_holds_up_its_key() {
        let mut leases = Leases::default();
        let lease = leases.begin(MINUTE);
        let sent = Row {
            token: lease.token,
            deadline: lease.ends,
            ..row(1, Some("k"), "/queue/a")
        };
        leases.mark_incomplete(lease.token);
        assert!(leases.claimed(&sent));
        assert!(leases.tokens().is_empty(), "a later row of k would pass by");
        let mut outcomes = Outcomes::default();
        outcomes.sent(&sent);
        leases.settled(&outcomes);
        assert!(leases.incomplete.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubtful_claim_is_forgotten_when_its_lease_has_ended() {
        let mut leases = Leases::default();
        let [first, second] = [1, 2].map(Uuid::from_u128);
        leases.add_in_doubt(first, MINUTE);
        tokio::time::advance(MINUTE / 2).await;
        leases.add_in_doubt(second, MINUTE);
        assert_eq!(leases.in_doubt(), [first, second]);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(leases.in_doubt(), [second]);
        leases.released(&[second]);
        assert!(leases.in_doubt().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn claims_share_the_end_of_a_lease_for_half_of_its_length() {
        let mut leases = Leases::default();
        let first = leases.begin(MINUTE);
        assert!(leases.claimed(&Row {
            token: first.token,
            deadline: first.ends,
            ..row(1, Some("k"), "/queue/a")
        }));
        tokio::time::advance(MINUTE / 3).await;
        let second = leases.begin(MINUTE);
        assert_eq!(first.ends, second.ends);
        assert_ne!(first.token, second.token);
        assert_eq!(leases.tokens(), [first.token]);
        tokio::time::advance(MINUTE / 3).await;
        assert_eq!(leases.begin(MINUTE).ends, Instant::now() + MINUTE);
        assert!(leases.tokens().is_empty(), "its row ends before the next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_while_the_machine_is_suspended() {
        let mut leases = Leases::default();
        let lease = leases.begin(MINUTE);
        let row = Row {
            token: lease.token,
            deadline: lease.ends,
            ..row(1, Some("k"), "/queue/a")
        };
        let is_late = |row: &Row| row.send_before() <= Instant::now();
        assert!(!is_late(&row));
        leases.add_in_doubt(lease.token, MINUTE);
        lease_clock::suspend(MINUTE);
        assert!(is_late(&row), "it is not sent any more");
        assert!(leases.in_doubt().is_empty());
        assert_eq!(leases.begin(MINUTE).ends, lease.ends + MINUTE);
    }
}
