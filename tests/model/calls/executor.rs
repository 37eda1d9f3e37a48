//! An executor: the calls that it holds, and the outcomes that are not in the database yet.

use std::collections::VecDeque;

use crate::{Row, Token};

/// A call under an executor's lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Held {
    pub(crate) row: Row,
    pub(crate) token: Token,
    /// The end of the lease by the executor's own clock.
    pub(crate) ends: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Released,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Executor {
    /// Claimed, not started.
    pub(crate) backlog: VecDeque<Held>,
    pub(crate) running: Vec<Held>,
    pub(crate) outcomes: Vec<(Held, Outcome)>,
    /// Without a connection to the database.
    pub(crate) is_cut_off: bool,
}

impl Executor {
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Held> {
        let outcomes = self.outcomes.iter().map(|(held, _)| held);
        self.backlog.iter().chain(&self.running).chain(outcomes)
    }

    pub(crate) fn holds_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        let outcomes = self.outcomes.iter_mut().map(|(held, _)| held);
        let started = self.running.iter_mut().chain(outcomes);
        self.backlog.iter_mut().chain(started)
    }

    /// A call was not done: the later ones of its key are released.
    pub(crate) fn not_done(&mut self, held: Held, outcome: Outcome, withdraws: bool) {
        self.outcomes.push((held, outcome));
        if withdraws {
            let backlog = std::mem::take(&mut self.backlog).into_iter();
            self.outcomes
                .extend(backlog.map(|held| (held, Outcome::Released)));
        }
    }
}
