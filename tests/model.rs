//! The steps of claiming, sending and settling as a model, looked at in every order in which they
//! can happen: two publishers (one takes larger steps), three rows, time that passes, and one thing that goes wrong anywhere
//! (a crash, a cut connection, a refusal, an answer of the database that is lost).
//!
//! The steps are those of `src/relay/engine` and `src/backend`. That the model can fail is shown by
//! taking its rules away one by one: each time a law breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

const ROWS: usize = 3;
/// Rows claimed at a time.
const CHUNK: usize = 2;
/// How long a lease is, how long claims share one, and when time ends.
const LEASE: u8 = 2;
const YOUNG: u8 = 2;
const END: u8 = 2;

/// The publisher whose every step is looked at apart, and to whom things happen; the other one takes
/// larger steps between them.
const FINE: usize = 0;
const COARSE: usize = 1;

type Row = u8;
type Token = u8;

/// What the laws rest on.
#[derive(Clone, Copy)]
struct Rules {
    /// A row is settled as sent by its receipt only.
    receipts: bool,
    /// Whatever ends a lease names its token.
    fenced: bool,
    /// Nothing is written to the connection after the end of the lease.
    deadline: bool,
    /// A claim passes by rows behind one of their key that is held up.
    held: bool,
    /// Claims that share a lease share its end.
    one_end: bool,
    /// A row that was claimed while an earlier one of its key failed is given back.
    spoiled: bool,
    /// A key with a row that was not sent is not passed by, until the database knows.
    troubled: bool,
}

const ALL: Rules = Rules {
    receipts: true,
    fenced: true,
    deadline: true,
    held: true,
    one_end: true,
    spoiled: true,
    troubled: true,
};

/// A row in the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
struct Stored {
    succeeded: bool,
    token: Option<Token>,
    due: u8,
}

/// A row under a lease of a publisher's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Held {
    row: Row,
    token: Token,
    deadline: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Fate {
    Sent,
    Failed,
    Released,
}

impl Fate {
    /// The order of the statements.
    fn after(self) -> Option<Self> {
        match self {
            Self::Sent => Some(Self::Failed),
            Self::Failed => Some(Self::Released),
            Self::Released => None,
        }
    }
}

/// A claim under way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Claim {
    token: Token,
    deadline: u8,
    /// Tokens whose rows it passes by.
    own: Vec<Token>,
    /// What the database has made of it.
    rows: Option<Vec<Row>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
struct Publisher {
    /// When the lease began whose end claims share.
    began: Option<u8>,
    claim: Option<Claim>,
    spoiled: bool,
    doubtful: Option<Token>,
    /// Claimed, not yet written.
    queued: VecDeque<Held>,
    /// Written, not yet at the broker.
    wire: VecDeque<Held>,
    /// At the broker; the receipt is on its way.
    receipts: VecDeque<Held>,
    outcomes: Vec<(Held, Fate)>,
    /// Outcomes that are told to the database: first those sent, then failed, then released.
    settling: Option<(Vec<(Held, Fate)>, Fate)>,
}

impl Publisher {
    fn in_flight(&self) -> usize {
        self.queued.len() + self.wire.len() + self.receipts.len()
    }

    fn holds(&self) -> impl Iterator<Item = &Held> {
        let settling = self.settling.iter().flat_map(|(batch, _)| batch);
        let outcomes = self.outcomes.iter().chain(settling).map(|(held, _)| held);
        let under_way = self.queued.iter().chain(&self.wire).chain(&self.receipts);
        under_way.chain(outcomes)
    }

    /// A statement that is about no row is none.
    fn pass_empty_statements(&mut self) {
        while let Some((batch, fate)) = self.settling.take() {
            if batch.iter().any(|(_, of)| *of == fate) {
                self.settling = Some((batch, fate));
                return;
            }
            self.settling = fate.after().map(|after| (batch, after));
        }
    }

    fn tokens(&mut self) -> impl Iterator<Item = &mut Token> {
        let held = self
            .queued
            .iter_mut()
            .chain(&mut self.wire)
            .chain(&mut self.receipts)
            .chain(self.outcomes.iter_mut().map(|(held, _)| held))
            .chain(
                self.settling
                    .iter_mut()
                    .flat_map(|(batch, _)| batch)
                    .map(|(held, _)| held),
            );
        held.map(|held| &mut held.token)
            .chain(
                self.claim
                    .iter_mut()
                    .flat_map(|claim| std::iter::once(&mut claim.token).chain(&mut claim.own)),
            )
            .chain(self.doubtful.as_mut())
    }

    /// Whether a row that was not sent has yet to be told to the database.
    fn has_trouble(&self) -> bool {
        let settling = self.settling.iter().flat_map(|(batch, _)| batch);
        self.outcomes
            .iter()
            .chain(settling)
            .any(|(_, fate)| *fate != Fate::Sent)
    }

    /// A row was not sent: what follows it waits.
    fn not_sent(&mut self, held: Held, fate: Fate) {
        self.spoiled = true;
        self.outcomes.push((held, fate));
    }

    /// The connection is gone. What was written may still come to the broker.
    fn lose_connection(&mut self, late: &mut VecDeque<Row>) {
        late.extend(self.wire.iter().map(|held| held.row));
        let receipts = std::mem::take(&mut self.receipts);
        let wire = std::mem::take(&mut self.wire);
        let queued = std::mem::take(&mut self.queued);
        for held in receipts.into_iter().chain(wire).chain(queued) {
            self.not_sent(held, Fate::Released);
        }
    }
}

/// All there is. The three rows have one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
struct World {
    now: u8,
    rows: [Stored; ROWS],
    publishers: [Publisher; 2],
    /// Written to connections that are gone since.
    late: [VecDeque<Row>; 2],
    /// First arrivals at the broker.
    arrived: Vec<Row>,
    tokens: Token,
    went_wrong: bool,
}

/// A law that is broken.
type Broken = &'static str;

impl World {
    fn arrive(&mut self, row: Row) -> Result<(), Broken> {
        if !self.arrived.contains(&row) {
            if self.arrived.iter().any(|&before| before > row) {
                return Err("law 7: a later row of the key came first");
            }
            self.arrived.push(row);
        }
        Ok(())
    }

    /// Law 3 and law 4, in any state.
    fn check(&self) -> Result<(), Broken> {
        for (row, stored) in (0..).zip(&self.rows) {
            if stored.succeeded && !self.arrived.contains(&row) {
                return Err("law 3: SUCCEEDED, and the broker never had it");
            }
        }
        for publisher in &self.publishers {
            for held in publisher
                .queued
                .iter()
                .filter(|held| self.now < held.deadline)
            {
                if self.rows[usize::from(held.row)].token != Some(held.token) {
                    return Err("law 4: a lease was taken from its holder");
                }
            }
        }
        Ok(())
    }

    /// The claim's statement.
    fn claimable(&self, claim: &Claim, rules: Rules) -> Vec<Row> {
        let is_held_up = |row: usize| {
            rules.held
                && self.rows[..row].iter().any(|earlier| {
                    let is_own = earlier
                        .token
                        .is_some_and(|token| claim.own.contains(&token));
                    !earlier.succeeded && earlier.due > self.now && !is_own
                })
        };
        (0..ROWS)
            .filter(|&row| {
                let stored = self.rows[row];
                !stored.succeeded && stored.due <= self.now && !is_held_up(row)
            })
            .take(CHUNK)
            .map(|row| Row::try_from(row).unwrap())
            .collect()
    }

    /// One of the statements that settle.
    fn settle(&mut self, held: Held, fate: Fate, rules: Rules) {
        let now = self.now;
        let stored = &mut self.rows[usize::from(held.row)];
        if stored.succeeded || (rules.fenced && stored.token != Some(held.token)) {
            return;
        }
        stored.token = None;
        match fate {
            Fate::Sent => stored.succeeded = true,
            Fate::Failed => stored.due = now + 1,
            Fate::Released => stored.due = 0,
        }
    }

    /// The same state with other names for the tokens is the same.
    fn named_alike(mut self) -> Self {
        let mut names: Vec<Token> = Vec::new();
        let in_rows = self.rows.iter_mut().filter_map(|row| row.token.as_mut());
        let held = self.publishers.iter_mut().flat_map(Publisher::tokens);
        for token in in_rows.chain(held) {
            let known = names.iter().position(|name| name == token);
            let position = known.unwrap_or_else(|| {
                names.push(*token);
                names.len() - 1
            });
            *token = Token::try_from(position + 1).unwrap();
        }
        self.tokens = Token::try_from(names.len()).unwrap();
        self
    }

    fn fingerprint(&self) -> u128 {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        hash(0) << 64 | hash(1)
    }

    /// Every state that may follow.
    fn next(&self, rules: Rules) -> Result<Vec<Self>, Broken> {
        let mut found = Vec::new();
        if self.now < END {
            let mut next = self.clone();
            next.now += 1;
            found.push(next);
        }
        self.claim_steps(FINE, rules, &mut found);
        self.send_steps(FINE, rules, &mut found)?;
        self.settle_steps(FINE, rules, &mut found);
        if !self.went_wrong {
            self.mishaps(FINE, &mut found);
        }
        self.coarse_steps(rules, &mut found)?;
        for next in &found {
            next.check()?;
        }
        Ok(found)
    }

    /// The second publisher claims, sends or settles, each in one step.
    fn coarse_steps(&self, rules: Rules, found: &mut Vec<Self>) -> Result<(), Broken> {
        let mut worlds = Vec::new();
        self.claim_steps(COARSE, rules, &mut worlds);
        while let Some(world) = worlds.pop() {
            if world.publishers[COARSE].claim.is_some() {
                world.claim_steps(COARSE, rules, &mut worlds);
            } else {
                found.push(world);
            }
        }
        self.send_steps(COARSE, rules, &mut worlds)?;
        while let Some(world) = worlds.pop() {
            let publisher = &world.publishers[COARSE];
            if publisher.wire.is_empty() && publisher.receipts.is_empty() {
                found.push(world);
            } else {
                let mut alone = world.clone();
                let queued = std::mem::take(&mut alone.publishers[COARSE].queued);
                let before = worlds.len();
                alone.send_steps(COARSE, rules, &mut worlds)?;
                for world in &mut worlds[before..] {
                    world.publishers[COARSE].queued.clone_from(&queued);
                }
            }
        }
        self.settle_steps(COARSE, rules, &mut worlds);
        while let Some(world) = worlds.pop() {
            if world.publishers[COARSE].settling.is_some() {
                world.settle_steps(COARSE, rules, &mut worlds);
            } else {
                found.push(world);
            }
        }
        Ok(())
    }

    fn claim_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) {
        let publisher = &self.publishers[p];
        match &publisher.claim {
            None if publisher.in_flight() < CHUNK
                && (p == FINE || publisher.holds().next().is_none()) =>
            {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                let young = publisher.began.filter(|began| self.now - began < YOUNG);
                let began = *publisher.began.insert(young.unwrap_or(self.now));
                next.tokens += 1;
                publisher.spoiled = false;
                let deadline = if rules.one_end { began } else { self.now } + LEASE;
                // Of those whose leases end together.
                let mut own: Vec<Token> = publisher
                    .holds()
                    .filter(|held| held.deadline == deadline || !rules.one_end)
                    .map(|held| held.token)
                    .collect();
                if rules.troubled && publisher.has_trouble() {
                    own.clear();
                }
                own.sort_unstable();
                own.dedup();
                publisher.claim = Some(Claim {
                    token: next.tokens,
                    deadline,
                    own,
                    rows: None,
                });
                found.push(next);
            }
            None => {}
            Some(claim) if claim.rows.is_none() => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                if let Some(token) = publisher.doubtful.take() {
                    let ours = next.rows.iter_mut().filter(|row| row.token == Some(token));
                    for row in ours.filter(|row| !row.succeeded) {
                        (row.token, row.due) = (None, 0);
                    }
                }
                let rows = next.claimable(claim, rules);
                for row in &rows {
                    let stored = &mut next.rows[usize::from(*row)];
                    (stored.token, stored.due) = (Some(claim.token), self.now + LEASE);
                }
                next.publishers[p].claim.as_mut().unwrap().rows = Some(rows);
                found.push(next);
            }
            Some(claim) => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                publisher.claim = None;
                for &row in claim.rows.iter().flatten() {
                    let held = Held {
                        row,
                        token: claim.token,
                        deadline: claim.deadline,
                    };
                    if rules.spoiled && publisher.spoiled {
                        publisher.outcomes.push((held, Fate::Released));
                    } else {
                        publisher.queued.push_back(held);
                    }
                }
                found.push(next);
            }
        }
    }

    fn send_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) -> Result<(), Broken> {
        let publisher = &self.publishers[p];
        if let Some(&held) = publisher.queued.front() {
            let mut next = self.clone();
            let publisher = &mut next.publishers[p];
            publisher.queued.pop_front();
            if self.now < held.deadline || !rules.deadline {
                if self.rows[usize::from(held.row)].token != Some(held.token) {
                    return Err("law 4: sent when its lease had passed to another");
                }
                publisher.wire.push_back(held);
                if !rules.receipts {
                    publisher.outcomes.push((held, Fate::Sent));
                }
            } else {
                publisher.not_sent(held, Fate::Released);
            }
            found.push(next);
        }
        if let Some(&held) = publisher.wire.front() {
            let mut next = self.clone();
            next.publishers[p].wire.pop_front();
            next.publishers[p].receipts.push_back(held);
            next.arrive(held.row)?;
            found.push(next);
        }
        if let Some(&row) = self.late[p].front() {
            let mut next = self.clone();
            // Or it is lost, and with it what was written after it.
            let mut lost = next.clone();
            lost.late[p].clear();
            found.push(lost);
            next.late[p].pop_front();
            next.arrive(row)?;
            found.push(next);
        }
        if let Some(&held) = publisher.receipts.front() {
            let mut next = self.clone();
            next.publishers[p].receipts.pop_front();
            if rules.receipts {
                next.publishers[p].outcomes.push((held, Fate::Sent));
            }
            found.push(next);
        }
        Ok(())
    }

    fn settle_steps(&self, p: usize, rules: Rules, found: &mut Vec<Self>) {
        let publisher = &self.publishers[p];
        match &publisher.settling {
            None if !publisher.outcomes.is_empty() => {
                let mut next = self.clone();
                let publisher = &mut next.publishers[p];
                let mut batch = std::mem::take(&mut publisher.outcomes);
                batch.sort_by_key(|(held, _)| (held.row, held.token));
                publisher.settling = Some((batch, Fate::Sent));
                publisher.pass_empty_statements();
                found.push(next);
            }
            None => {}
            Some((batch, fate)) => {
                let mut next = self.clone();
                for (held, _) in batch.iter().filter(|(_, of)| of == fate) {
                    next.settle(*held, *fate, rules);
                }
                next.publishers[p].settling = fate.after().map(|after| (batch.clone(), after));
                next.publishers[p].pass_empty_statements();
                found.push(next);
            }
        }
    }

    /// What may go wrong, once.
    fn mishaps(&self, p: usize, found: &mut Vec<Self>) {
        let mut wrong = self.clone();
        wrong.went_wrong = true;

        let mut crashed = wrong.clone();
        let lost = std::mem::take(&mut crashed.publishers[p]);
        crashed.late[p].extend(lost.wire.iter().map(|held| held.row));
        found.push(crashed);

        if self.publishers[p].in_flight() > 0 {
            let mut cut = wrong.clone();
            let World {
                publishers, late, ..
            } = &mut cut;
            publishers[p].lose_connection(&mut late[p]);
            found.push(cut);
        }
        if let Some(&refused) = self.publishers[p].wire.front() {
            // An ERROR that names the row; the broker closes, and takes nothing after it.
            let mut next = wrong.clone();
            let publisher = &mut next.publishers[p];
            publisher.wire.clear();
            let behind: Vec<Held> = self.publishers[p].wire.iter().skip(1).copied().collect();
            publisher.not_sent(refused, Fate::Failed);
            let receipts = std::mem::take(&mut publisher.receipts);
            let queued = std::mem::take(&mut publisher.queued);
            for held in receipts.into_iter().chain(behind).chain(queued) {
                publisher.not_sent(held, Fate::Released);
            }
            found.push(next);
        }
        if let Some(claim) = &self.publishers[p].claim {
            let mut lost = wrong.clone();
            let publisher = &mut lost.publishers[p];
            publisher.claim = None;
            publisher.doubtful = Some(claim.token);
            found.push(lost);
        }
        if let Some((batch, _)) = &self.publishers[p].settling {
            // It is told once more.
            let mut lost = wrong;
            let publisher = &mut lost.publishers[p];
            publisher.settling = Some((batch.clone(), Fate::Sent));
            found.push(lost);
        }
    }
}

/// Looks at every state; the number of them, or the law that one breaks.
fn explore(rules: Rules) -> Result<usize, Broken> {
    let mut seen = HashSet::from([World::default().fingerprint()]);
    let mut open = vec![World::default()];
    while let Some(world) = open.pop() {
        for next in world.next(rules)? {
            let next = next.named_alike();
            if seen.insert(next.fingerprint()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn the_laws_hold_in_every_state() {
    let states = explore(ALL).unwrap();
    eprintln!("{states} states");
    assert!(
        states > 100_000,
        "only {states} states: something is never done"
    );
}

#[test]
fn without_any_of_the_rules_a_law_breaks() {
    let without = [
        (
            "receipts",
            Rules {
                receipts: false,
                ..ALL
            },
            "law 3",
        ),
        (
            "fenced",
            Rules {
                fenced: false,
                ..ALL
            },
            "law 4",
        ),
        (
            "deadline",
            Rules {
                deadline: false,
                ..ALL
            },
            "law 4",
        ),
        ("held", Rules { held: false, ..ALL }, "law 7"),
        (
            "one_end",
            Rules {
                one_end: false,
                ..ALL
            },
            "law 7",
        ),
        (
            "spoiled",
            Rules {
                spoiled: false,
                ..ALL
            },
            "law 7",
        ),
        (
            "troubled",
            Rules {
                troubled: false,
                ..ALL
            },
            "law 7",
        ),
    ];
    for (name, rules, law) in without {
        let broken = explore(rules).expect_err(name);
        assert!(broken.starts_with(law), "{name}: {broken}");
    }
}
