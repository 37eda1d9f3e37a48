//! A publisher: its leased rows and the outcomes that are not in the database yet.

use std::collections::VecDeque;

use crate::{Row, Token};

/// A row under a publisher's lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Held {
    pub(crate) row: Row,
    pub(crate) token: Token,
    pub(crate) deadline: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Fate {
    Sent,
    Failed,
    Released,
}

impl Fate {
    /// The order of the statements.
    pub(crate) fn after(self) -> Option<Self> {
        match self {
            Self::Sent => Some(Self::Failed),
            Self::Failed => Some(Self::Released),
            Self::Released => None,
        }
    }
}

/// A claim in progress.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Claim {
    pub(crate) token: Token,
    pub(crate) deadline: u8,
    /// Tokens whose rows it skips.
    pub(crate) own: Vec<Token>,
    /// The result from the database.
    pub(crate) rows: Option<Vec<Row>>,
}
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Publisher {
    /// The start of the lease whose end claims share.
    pub(crate) began: Option<u8>,
    pub(crate) claim: Option<Claim>,
    pub(crate) spoiled: bool,
    pub(crate) doubtful: Option<Token>,
    /// Claimed, not yet written.
    pub(crate) queued: VecDeque<Held>,
    /// Written, not yet at the broker.
    pub(crate) wire: VecDeque<Held>,
    /// At the broker; the receipt has not arrived.
    pub(crate) receipts: VecDeque<Held>,
    pub(crate) outcomes: Vec<(Held, Fate)>,
    /// Outcomes to settle in the database: first sent, then failed, then released.
    pub(crate) settling: Option<(Vec<(Held, Fate)>, Fate)>,
}

impl Publisher {
    pub(crate) fn in_flight(&self) -> usize {
        self.queued.len() + self.wire.len() + self.receipts.len()
    }

    pub(crate) fn holds(&self) -> impl Iterator<Item = &Held> {
        let settling = self.settling.iter().flat_map(|(batch, _)| batch);
        let outcomes = self.outcomes.iter().chain(settling).map(|(held, _)| held);
        let under_way = self.queued.iter().chain(&self.wire).chain(&self.receipts);
        under_way.chain(outcomes)
    }

    /// Skips statements without rows.
    pub(crate) fn pass_empty_statements(&mut self) {
        while let Some((batch, fate)) = self.settling.take() {
            if batch.iter().any(|(_, of)| *of == fate) {
                self.settling = Some((batch, fate));
                return;
            }
            self.settling = fate.after().map(|after| (batch, after));
        }
    }

    pub(crate) fn tokens(&mut self) -> impl Iterator<Item = &mut Token> {
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

    /// Whether an unsent row is not settled in the database yet.
    pub(crate) fn has_trouble(&self) -> bool {
        let settling = self.settling.iter().flat_map(|(batch, _)| batch);
        self.outcomes
            .iter()
            .chain(settling)
            .any(|(_, fate)| *fate != Fate::Sent)
    }

    /// A row was not sent; the later rows of its key wait.
    pub(crate) fn not_sent(&mut self, held: Held, fate: Fate) {
        self.spoiled = true;
        self.outcomes.push((held, fate));
    }

    /// The connection is lost. What was written may still arrive at the broker.
    pub(crate) fn lose_connection(&mut self, late: &mut VecDeque<Row>) {
        late.extend(self.wire.iter().map(|held| held.row));
        let receipts = std::mem::take(&mut self.receipts);
        let wire = std::mem::take(&mut self.wire);
        let queued = std::mem::take(&mut self.queued);
        for held in receipts.into_iter().chain(wire).chain(queued) {
            self.not_sent(held, Fate::Released);
        }
    }
}
