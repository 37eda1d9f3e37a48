//! The steps from one state to the next.

use super::executor::{Held, Outcome};
use super::world::World;
use super::{END, EXECUTORS, IN_TRANSACTION, LEASE, Rules};
use crate::Broken;

fn is_within(held: Held, rules: Rules) -> bool {
    rules.settled_within && IN_TRANSACTION[usize::from(held.row)]
}

impl World {
    /// All states that may follow.
    pub(crate) fn next(&self, rules: Rules) -> Result<Vec<Self>, Broken> {
        let mut found = Vec::new();
        if self.now < END {
            found.push(self.tick(rules));
        }
        for e in 0..EXECUTORS {
            self.claim(e, rules, &mut found);
            self.start_first(e, rules, &mut found)?;
            self.finish(e, rules, &mut found);
            self.settle_all(e, rules, &mut found);
            self.mishaps(e, rules, &mut found);
        }
        for next in &found {
            next.check()?;
        }
        Ok(found)
    }

    /// Time passes, and leases are renewed.
    fn tick(&self, rules: Rules) -> Self {
        let mut next = self.clone();
        next.now += 1;
        let end = next.now + LEASE;
        let World {
            rows, executors, ..
        } = &mut next;
        for executor in executors.iter_mut().filter(|it| !it.is_cut_off) {
            for held in executor.holds_mut() {
                let stored = &mut rows[usize::from(held.row)];
                let is_ours = stored.token == Some(held.token) && !stored.is_done;
                // The transaction of its function has locked it: it needs no renewal.
                if rules.renewed && is_ours && !stored.is_locked {
                    stored.due = end;
                    held.ends = end;
                }
            }
        }
        next
    }

    fn claim(&self, e: usize, rules: Rules, found: &mut Vec<Self>) {
        let executor = &self.executors[e];
        if executor.is_cut_off || executor.holds().next().is_some() {
            return;
        }
        let rows = self.claimable(rules);
        if rows.is_empty() {
            return;
        }
        let mut next = self.clone();
        next.tokens += 1;
        let (token, ends) = (next.tokens, self.now + LEASE);
        for &row in &rows {
            let stored = &mut next.rows[usize::from(row)];
            (stored.token, stored.due) = (Some(token), ends);
        }
        if !self.went_wrong {
            // The answer is lost.
            let mut lost = next.clone();
            lost.went_wrong = true;
            found.push(lost);
        }
        let held = rows.into_iter().map(|row| Held { row, token, ends });
        next.executors[e].backlog.extend(held);
        found.push(next);
    }

    fn start_first(&self, e: usize, rules: Rules, found: &mut Vec<Self>) -> Result<(), Broken> {
        let executor = &self.executors[e];
        let is_busy = rules.one_of_a_key && !executor.running.is_empty();
        let Some(&held) = executor.backlog.front().filter(|_| !is_busy) else {
            return Ok(());
        };
        let mut next = self.clone();
        next.executors[e].backlog.pop_front();
        let needs_connection = IN_TRANSACTION[usize::from(held.row)];
        let is_late = rules.deadline && self.now >= held.ends;
        if is_late || (needs_connection && executor.is_cut_off) {
            next.executors[e].not_done(held, Outcome::Released, rules.withdrawn);
        } else if is_within(held, rules) {
            let stored = next.row(held);
            if stored.is_locked {
                // Its first statement waits for the lock.
                return Ok(());
            }
            if stored.token == Some(held.token) && !stored.is_done {
                stored.is_locked = true;
                next.start(e, held)?;
            } else {
                next.executors[e].not_done(held, Outcome::Released, rules.withdrawn);
            }
        } else {
            next.start(e, held)?;
        }
        found.push(next);
        Ok(())
    }

    /// A function ends.
    fn finish(&self, e: usize, rules: Rules, found: &mut Vec<Self>) {
        for (place, &held) in self.executors[e].running.iter().enumerate() {
            let in_transaction = IN_TRANSACTION[usize::from(held.row)];
            let mut next = self.clone();
            next.executors[e].running.remove(place);
            next.row(held).is_locked &= !is_within(held, rules);
            if !self.has_failed {
                let mut failed = next.clone();
                failed.has_failed = true;
                failed.executors[e].not_done(held, Outcome::Failed, rules.withdrawn);
                found.push(failed);
            }
            let stored = next.row(held);
            stored.succeeded = true;
            stored.effects += u8::from(in_transaction);
            if is_within(held, rules) {
                stored.is_done = true;
                if !self.went_wrong {
                    // The answer to COMMIT is lost.
                    let mut lost = next.clone();
                    lost.went_wrong = true;
                    lost.executors[e].not_done(held, Outcome::Failed, rules.withdrawn);
                    found.push(lost);
                }
            } else {
                next.executors[e].outcomes.push((held, Outcome::Done));
            }
            found.push(next);
        }
    }

    fn settle_all(&self, e: usize, rules: Rules, found: &mut Vec<Self>) {
        let executor = &self.executors[e];
        if executor.is_cut_off || executor.outcomes.is_empty() {
            return;
        }
        let mut next = self.clone();
        for (held, outcome) in std::mem::take(&mut next.executors[e].outcomes) {
            next.settle(held, outcome, rules);
        }
        found.push(next);
    }

    /// The faults; one of them happens once.
    fn mishaps(&self, e: usize, rules: Rules, found: &mut Vec<Self>) {
        if self.executors[e].is_cut_off {
            let mut next = self.clone();
            next.executors[e].is_cut_off = false;
            found.push(next);
        }
        if self.went_wrong {
            return;
        }
        let mut cut_off = self.clone();
        cut_off.went_wrong = true;
        // The server rolls back.
        let running = std::mem::take(&mut cut_off.executors[e].running);
        for held in running {
            if IN_TRANSACTION[usize::from(held.row)] {
                cut_off.row(held).is_locked &= !is_within(held, rules);
                cut_off.executors[e].not_done(held, Outcome::Released, rules.withdrawn);
            } else {
                cut_off.executors[e].running.push(held);
            }
        }
        let mut crashed = cut_off.clone();
        crashed.executors[e] = Default::default();
        cut_off.executors[e].is_cut_off = true;
        found.extend([crashed, cut_off]);
    }
}
