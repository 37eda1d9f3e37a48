//! The state of the model: the table and the executors; and the laws.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::executor::{Executor, Held, Outcome};
use super::{CHUNK, EXECUTORS, IN_TRANSACTION, Rules};
use crate::{Broken, ROWS, Row, Token};

/// A row in the database, and the executions of its function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Stored {
    pub(crate) is_done: bool,
    pub(crate) token: Option<Token>,
    pub(crate) due: u8,
    /// Whether the transaction of a function has locked it.
    pub(crate) is_locked: bool,
    pub(crate) was_started: bool,
    /// Whether its function has returned Ok.
    pub(crate) succeeded: bool,
    /// Effects in this database, of functions in a transaction.
    pub(crate) effects: u8,
}

/// The state of the model. The three calls have one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct World {
    pub(crate) now: u8,
    pub(crate) rows: [Stored; ROWS],
    pub(crate) executors: [Executor; EXECUTORS],
    pub(crate) tokens: Token,
    pub(crate) went_wrong: bool,
    /// An attempt has failed.
    pub(crate) has_failed: bool,
}

impl World {
    pub(crate) fn row(&mut self, held: Held) -> &mut Stored {
        &mut self.rows[usize::from(held.row)]
    }

    /// A function starts.
    pub(crate) fn start(&mut self, e: usize, held: Held) -> Result<(), Broken> {
        let runs_elsewhere = (0..EXECUTORS).any(|other| {
            let mut running = self.executors[other].running.iter();
            other != e && running.any(|running| running.row == held.row)
        });
        let number = usize::from(held.row);
        let stored = self.rows[number];
        if !self.went_wrong && (runs_elsewhere || stored.succeeded) {
            return Err("law 2: a call ran twice though nothing went wrong");
        }
        if stored.token != Some(held.token) {
            return Err("law 4: started when its lease had passed to another");
        }
        if !stored.was_started && self.rows[..number].iter().any(|row| !row.succeeded) {
            return Err("law 5: a later call of the key was started first");
        }
        self.rows[number].was_started = true;
        self.executors[e].running.push(held);
        Ok(())
    }

    /// Laws 2, 3 and 4, which hold in every state.
    pub(crate) fn check(&self) -> Result<(), Broken> {
        for (stored, in_transaction) in self.rows.iter().zip(IN_TRANSACTION) {
            if stored.is_done && !stored.succeeded {
                return Err("law 2: SUCCEEDED, but its function never returned Ok");
            }
            if stored.effects > 1 || (in_transaction && stored.is_done && stored.effects == 0) {
                return Err("law 3: not one effect");
            }
        }
        for executor in &self.executors {
            let not_started = executor.backlog.iter();
            for held in not_started.filter(|held| self.now < held.ends) {
                if self.rows[usize::from(held.row)].token != Some(held.token) {
                    return Err("law 4: a lease was taken from its holder");
                }
            }
        }
        Ok(())
    }

    /// The statement of a claim.
    pub(crate) fn claimable(&self, rules: Rules) -> Vec<Row> {
        let mut found = Vec::new();
        for (row, stored) in (0..).zip(&self.rows) {
            if stored.is_done {
                continue;
            }
            if stored.is_locked {
                if rules.locked {
                    break;
                }
            } else if stored.due > self.now {
                if rules.held {
                    break;
                }
            } else if found.len() < CHUNK {
                found.push(row);
            }
        }
        found
    }

    /// One of the settle statements.
    pub(crate) fn settle(&mut self, held: Held, outcome: Outcome, rules: Rules) {
        let now = self.now;
        let stored = self.row(held);
        // A row that is locked is settled later: its token will not be this one any more.
        if stored.is_done || stored.is_locked || (rules.fenced && stored.token != Some(held.token))
        {
            return;
        }
        stored.token = None;
        match outcome {
            Outcome::Done => stored.is_done = true,
            Outcome::Failed => stored.due = now + 1,
            Outcome::Released => stored.due = 0,
        }
    }

    /// Renames the tokens: states that differ only in their names are the same.
    pub(crate) fn named_alike(mut self) -> Self {
        let mut names: Vec<Token> = Vec::new();
        let in_rows = self.rows.iter_mut().filter_map(|row| row.token.as_mut());
        let held = self.executors.iter_mut().flat_map(Executor::holds_mut);
        for token in in_rows.chain(held.map(|held| &mut held.token)) {
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

    pub(crate) fn fingerprint(&self) -> u128 {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        hash(0) << 64 | hash(1)
    }
}
