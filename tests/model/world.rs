//! The state of the model: the table, the publishers and the broker; and the laws.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::publisher::{Claim, Fate, Held, Publisher};
use crate::{Broken, CHUNK, ROWS, Row, Rules, Token};

/// A row in the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Stored {
    pub(crate) succeeded: bool,
    pub(crate) token: Option<Token>,
    pub(crate) due: u8,
}

/// The state of the model. The three rows have one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct World {
    pub(crate) now: u8,
    pub(crate) rows: [Stored; ROWS],
    pub(crate) publishers: [Publisher; 2],
    /// Rows written to connections that are lost now.
    pub(crate) late: [VecDeque<Row>; 2],
    /// The order of first arrivals at the broker.
    pub(crate) arrived: Vec<Row>,
    pub(crate) tokens: Token,
    pub(crate) went_wrong: bool,
}

impl World {
    pub(crate) fn arrive(&mut self, row: Row) -> Result<(), Broken> {
        if !self.arrived.contains(&row) {
            if self.arrived.iter().any(|&before| before > row) {
                return Err("law 7: a later row of the key came first");
            }
            self.arrived.push(row);
        }
        Ok(())
    }

    /// Laws 3 and 4, which hold in every state.
    pub(crate) fn check(&self) -> Result<(), Broken> {
        for (row, stored) in (0..).zip(&self.rows) {
            if stored.succeeded && !self.arrived.contains(&row) {
                return Err("law 3: SUCCEEDED, but the broker never received it");
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

    /// The statement of a claim.
    pub(crate) fn claimable(&self, claim: &Claim, rules: Rules) -> Vec<Row> {
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

    /// One of the settle statements.
    pub(crate) fn settle(&mut self, held: Held, fate: Fate, rules: Rules) {
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

    /// Renames the tokens: states that differ only in their names are the same.
    pub(crate) fn named_alike(mut self) -> Self {
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

    pub(crate) fn fingerprint(&self) -> u128 {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        hash(0) << 64 | hash(1)
    }
}
